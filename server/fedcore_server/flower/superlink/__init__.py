"""Flower's SuperLink as fedcore runs it: behind a gateway, with its control on loopback only.

Every private part of Flower that the server needs is imported in this package; ``tests/superlink`` fails when one
of them changes.
"""
