"""Subcommands that need no federation."""
