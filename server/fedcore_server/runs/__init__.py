"""Runs as directories: submitted, driven by a process, followed, checkpointed, and what they leave."""
