"""The reference tasks: real uses, each a scenario of the same name, and models of how to write one."""
