"""Federated algorithms: one file each, with what clients do and how the server moves the model."""
