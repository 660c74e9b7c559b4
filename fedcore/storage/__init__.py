"""Atomic files, event logs, locks and memory-mapped vectors."""
