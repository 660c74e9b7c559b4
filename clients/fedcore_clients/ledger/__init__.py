"""A data owner's account of what was released about each data set: durable, chained, over all runs."""
