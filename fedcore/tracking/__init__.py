"""Trackers: listeners that copy a run into the tools that people compare runs with."""
