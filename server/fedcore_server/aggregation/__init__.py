"""How the server combines updates."""
