"""What the server adds to a rule: the noise of client-level privacy."""
