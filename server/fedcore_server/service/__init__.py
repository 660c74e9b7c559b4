"""The long-lived server: SuperLink, runs in turn, health and metrics."""
