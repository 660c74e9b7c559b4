"""Measures what a run's privacy is worth: lower bounds beside the proven upper bound."""
