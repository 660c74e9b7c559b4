"""The subcommands of the server."""
