"""Evaluations: who is asked, what the reports add up to, and what is decided by them."""
