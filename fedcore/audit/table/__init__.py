"""The bias audit of a single table of decisions, without a federation."""
