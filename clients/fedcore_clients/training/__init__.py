"""Local training and evaluation, on one warm model."""
