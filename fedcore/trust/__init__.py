"""Identities: keys made where they stay, a signed roster, invitations and their answers."""
