"""The data owner's own gate: what a client may be asked for, and what may leave it."""
