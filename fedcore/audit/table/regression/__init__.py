"""The audit of a table whose targets are numbers."""
