"""The bias audit of one table on one machine: any model's decisions, without a federation."""
