"""The task that learns from a table of any schema."""
