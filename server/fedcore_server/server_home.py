"""The directory that a federation server lives in."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedcore.errors import DeploymentError
from fedcore_server.consortium_home import ConsortiumHome


class ServerHome:
    """A server's home: its consortium, its SuperLink's database, and its runs.

    Attributes:
        server_file: Written by a running server: its process number and addresses.
        lock: Held by the one process that runs the server.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.consortium = ConsortiumHome.open(path)
        self.database = path / "flower.db"
        self.flower = path / "flower"
        self.events = path / "events.jsonl"
        self.server_file = path / "server.json"
        self.runs = path / "runs"
        self.lock = path / "lock"

    @contextmanager
    def only_server(self) -> Iterator[None]:
        """Hold the lock that keeps a second server out of this home.

        Raises:
            DeploymentError: Another process holds it.
        """
        with self.lock.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DeploymentError(f"a server runs in {self.path} already; stop it first") from None
            yield

    def is_served(self) -> bool:
        """Whether a server runs in this home."""
        with self.lock.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False
