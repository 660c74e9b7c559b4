"""Whether a client's request would be served: everything it needs, tried every few seconds."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from fedcore.checkup.route import PULL, ask
from fedcore.errors import DeploymentError, StorageError
from fedcore_server.flower.superlink.certificate import names_of
from fedcore_server.service.home import ServerHome

SPARE_BYTES = 100 << 20
"""Free space below which requests count as not served: the database's log of recent writes needs some of it."""

_CHECKPOINTS = 2  # the next one is written beside the last, and as much arrives with a reply
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_ANSWERS = (401, 429)
_LOOPBACK = "127.0.0.1"


class Readiness:
    """Tries what a client's request needs: the gateway, the database and disk space.

    Made when the server has started, so that a database that is replaced later is noticed.

    Args:
        port: Of the gateway; ``None`` where it does not listen on all addresses of this machine, and is not tried.
    """

    def __init__(self, home: ServerHome, *, port: int | None) -> None:
        certified = port is not None and _LOOPBACK in names_of(home.consortium.server_certificate)
        self._home, self._address = home, f"{_LOOPBACK}:{port}" if certified else None
        self._opened = _identity(home.database)
        self._beat = 0

    def check(self, run: str | None) -> None:
        """Raise where a request would fail.

        Args:
            run: The run in progress, whose model needs space.

        Raises:
            FedcoreError: What is wrong and what to do, in the same words as long as it stays so.
        """
        self._check_database()
        self._check_room(run)
        if self._address is not None:
            status = ask(self._address, self._home.consortium.authority_certificate, PULL).status
            if status not in _ANSWERS:
                raise DeploymentError(f"the gateway answers a client with HTTP {status}, expected 401: look at the log")

    def _check_database(self) -> None:
        """Write to the database, through a new connection.

        The SuperLink's connections keep the file that they opened, so they do not notice a replaced one.
        """
        path = self._home.database
        try:
            same = _identity(path) == self._opened
        except OSError:
            same = False
        if not same:
            raise StorageError(
                f"the database {path} was removed or replaced while the server runs: restart the server; without the "
                "old file it makes a new one from the roster, and runs continue"
            )
        self._beat += 1
        try:
            with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=1.0)) as database:
                database.execute(f"PRAGMA user_version = {self._beat % 2}")  # a number that Flower does not use
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _BUSY:
                raise StorageError(f"the database {path} cannot be written: {error}") from error

    def _check_room(self, run: str | None) -> None:
        home, kept = self._home.path, self._home.runs / (run or "") / "checkpoint"
        try:
            checkpoint = sum(file.stat().st_size for file in kept.glob("[!.]*")) if run else 0
            free = shutil.disk_usage(home).free
        except OSError as error:
            raise StorageError(f"the home {home} cannot be read: {error.strerror or error}") from error
        needed = SPARE_BYTES + _CHECKPOINTS * checkpoint
        if free < needed:
            raise StorageError(f"the disk is nearly full: less than {needed // 1_000_000} MB are free at {home}")


def _identity(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_dev, stat.st_ino
