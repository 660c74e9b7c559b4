"""The privacy statement."""
