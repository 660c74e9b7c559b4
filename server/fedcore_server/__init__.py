"""Who takes part, how updates become the next model, when to stop, and what is reported."""
