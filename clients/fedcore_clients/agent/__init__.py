"""The long-lived client process: it receives requests, judges them and has a child process work on them."""
