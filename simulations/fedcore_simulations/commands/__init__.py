"""The subcommands of the simulator."""
