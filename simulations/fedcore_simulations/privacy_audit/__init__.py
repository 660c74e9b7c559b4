"""Measures a run's privacy: lower bounds beside the proven upper bound."""
