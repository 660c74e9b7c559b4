"""Keeps the nodes registered with Flower equal to the roster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from fedcore.errors import FedcoreError, StorageError
from fedcore.storage.events import EventLog
from fedcore_server.consortium.home import ConsortiumHome
from fedcore_server.flower.superlink.control import Control

_RETRY_SECONDS = 5.0


class Registration:
    """Applies the roster whenever its file changes.

    Args:
        admit: Given Flower's keys of all members, so that only they are served.
        show: Prints a line.
    """

    def __init__(
        self,
        home: ConsortiumHome,
        events: EventLog,
        *,
        admit: Callable[[Iterable[bytes]], None],
        show: Callable[[str], None],
    ) -> None:
        self._home, self._events, self._admit, self._show = home, events, admit, show
        self._seen: tuple[int, int] | None = None
        self._failed: tuple[int, int] | None = None
        self._retry_at = 0.0

    def sync(self, control: Control) -> None:
        """Register new clients, unregister removed ones; a failure is reported once, and retried every few seconds."""
        found = _identity(self._home.roster_file)
        if found == self._seen or (found == self._failed and time.monotonic() < self._retry_at):
            return
        self._retry_at = time.monotonic() + _RETRY_SECONDS
        try:
            roster = self._home.roster()
            if found != self._failed:
                self._show(f"roster {roster.version}: {', '.join(m.name for m in roster.members) or 'nobody yet'}")
            self._admit(member.flower_key for member in roster.members)
            control.sync_nodes(roster)
        except FedcoreError as error:
            if found != self._failed:
                self._show(f"{self._home.roster_file} cannot be used, and the clients stay the same: {error}")
            self._failed = found
            return
        self._seen = found
        with suppress(StorageError):
            self._events.append("roster", version=roster.version, members=[member.name for member in roster.members])


def _identity(path: Path) -> tuple[int, int]:
    """Changes when a file is replaced; zeros where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return 0, 0
    return stat.st_mtime_ns, stat.st_ino
