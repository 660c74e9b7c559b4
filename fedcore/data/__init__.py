"""Rows as columns of tensors, and their held-out share."""
