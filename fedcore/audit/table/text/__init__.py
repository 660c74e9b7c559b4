"""The audit of a table as text."""
