"""The report page, its pictures and the model card."""
