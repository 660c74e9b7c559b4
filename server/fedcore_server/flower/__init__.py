"""Flower at the server: the grid, the SuperLink and the ServerApp."""
