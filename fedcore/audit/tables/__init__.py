"""What clients count: additive tables by group."""
