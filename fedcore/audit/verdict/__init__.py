"""Limits, the gate, suppression and the content of `bias.json`."""
