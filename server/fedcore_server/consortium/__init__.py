"""The consortium: its authority, its members, the invitations between them."""
