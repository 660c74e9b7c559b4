"""Simulated time: how long each client takes with its device, and which of them a server would have waited for."""
