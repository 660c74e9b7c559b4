"""The works of `peers.py`, and who does them."""
