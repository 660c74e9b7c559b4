"""How updates become one: rules that combine them, and encodings that change what travels; one file each."""
