"""The ``batched`` engine: many clients in one tensor operation."""
