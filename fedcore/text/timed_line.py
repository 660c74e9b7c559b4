"""The output of a process that runs for weeks."""

from __future__ import annotations

from datetime import datetime

from fedcore.text.printable import printable


def print_timed(line: str) -> None:
    """Print a line with the local date and time, flushed at once."""
    print(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S} {printable(line)}", flush=True)
