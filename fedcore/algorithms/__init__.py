"""Federated algorithms: one file each, with the client half and the server half."""
