"""What `fedcore doctor` checks at a server."""
