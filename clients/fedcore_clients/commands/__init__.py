"""The subcommands of the client."""
