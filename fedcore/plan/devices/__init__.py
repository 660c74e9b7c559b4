"""The devices of simulated clients: the plan's section, and the profiles that it may name."""
