"""The ``ray`` engine: clients on the machines of a Ray cluster, through Flower's own simulation engine."""
