"""How a simulation splits one data set over its clients."""
