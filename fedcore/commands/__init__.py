"""What a table holds of each group before anything is learned from it."""
