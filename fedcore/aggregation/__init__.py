"""Aggregation: rules that combine updates, and encodings of what is sent; one file each."""
