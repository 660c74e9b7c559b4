"""Algorithms whose server steps when enough updates have come; in simulated time only."""
