"""The directory that a federation server lives in."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from fedcore.storage.lock import holding, is_locked
from fedcore_server.consortium.home import ConsortiumHome


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

    def only_server(self) -> AbstractContextManager[None]:
        """Hold the lock that keeps a second server out of this home.

        Raises:
            DeploymentError: Another process holds it.
        """
        return holding(self.lock, busy=f"a server runs in {self.path} already; stop it first")

    def is_served(self) -> bool:
        return is_locked(self.lock)
