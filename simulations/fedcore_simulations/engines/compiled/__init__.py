"""The ``compiled`` engine: perceptrons, each client's whole local training in one call of machine code."""
