"""Checks of ``fedcore doctor`` common to server and clients."""
