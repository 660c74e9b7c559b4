"""A data owner's account of what was told about each data set: durable, chained, and over all runs."""
