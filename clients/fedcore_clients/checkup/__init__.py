"""What `fedcore doctor` checks at a client."""
