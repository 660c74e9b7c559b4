"""Gradients of single records, clipped and kept apart."""
