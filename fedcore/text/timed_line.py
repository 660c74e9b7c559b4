"""The output of a process that runs for weeks."""

from __future__ import annotations

from datetime import datetime

from fedcore.text.printable import printable


def print_timed(line: str) -> None:
    """Print a line after the date and the local time, at once, also into a file."""
    print(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S} {printable(line)}", flush=True)
