"""How a run learns: algorithm, rule, encodings, server optimizer, and what server and clients exchange for them."""
