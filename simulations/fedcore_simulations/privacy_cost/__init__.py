"""What privacy costs each group: the same training without clipping, with clipping alone, and with noise."""
