"""The directory that a federation server lives in."""

from __future__ import annotations

from pathlib import Path


class ServerHome:
    """A server's home directory: where things stand in it.

    Attributes:
        server_file: Written by a running server: its process number and addresses on loopback.
        lock: Held by the one process that runs the server.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.consortium_file = path / "consortium.toml"
        self.certificate = path / "server.crt"
        self.certificate_key = path / "server.key"
        self.coordinator_key = path / "coordinator.key"
        self.roster = path / "roster.json"
        self.database = path / "flower.db"
        self.flower = path / "flower"
        self.events = path / "events.jsonl"
        self.server_file = path / "server.json"
        self.runs = path / "runs"
        self.lock = path / "lock"
