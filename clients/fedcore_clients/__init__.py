"""All that touches data: local training, evaluation, record-level privacy and the device they run on."""
