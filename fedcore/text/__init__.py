"""Numbers, lists and problems in words."""
