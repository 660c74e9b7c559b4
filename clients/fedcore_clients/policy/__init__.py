"""The data owner's own gate: what may be requested of a client, and what may leave it."""
