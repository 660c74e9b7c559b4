"""How many simulated clients are trained."""
