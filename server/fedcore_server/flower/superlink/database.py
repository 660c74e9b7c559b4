"""The SQLite file of the SuperLink: made whole or not at all."""

from __future__ import annotations

import os
import shutil
import sqlite3
import warnings
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from fedcore.errors import DeploymentError

if TYPE_CHECKING:
    from sqlalchemy import Engine

_BESIDE = ("-wal", "-shm")
_VERSION = "alembic_version"
_PAGE_BYTES = 4096
"""A transaction writes whole pages: with 64 KiB, heartbeats and small models write sixteen times as much. A model of
100 MB comes to as many bytes with either (``simulations/benchmarks/database_writes.py``)."""


def prepare_database(path: Path) -> None:
    """Make the database, unless there is one in which something is stored.

    It is made and migrated in a temporary directory and renamed when complete, so neither a full disk nor a kill leaves
    half of it. An incomplete and empty database of an earlier version is replaced.

    Raises:
        DeploymentError: It cannot be made, or is none of Flower's.
    """
    if path.exists() and (used := _tables_in_use(path)):
        if _VERSION not in used:  # Flower would end this process
            raise not_opened(path, "it is not a database of Flower's")
        if used != {_VERSION}:
            return
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)  # of a process that was killed: in a container all have one number
    try:
        aside.mkdir(mode=0o700)
        _make(aside / path.name)
        for old in (path, *(path.with_name(path.name + end) for end in _BESIDE)):
            old.unlink(missing_ok=True)
        (aside / path.name).replace(path)
    except Exception as error:  # OSError, and errors of Alembic and SQLAlchemy
        raise DeploymentError(
            f"the database {path} could not be made ({database_fault(error)}), and nothing of it is left: free some "
            "space if the disk is full, and start the server again"
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def not_opened(path: Path, fault: str) -> DeploymentError:
    return DeploymentError(
        f"the database {path} could not be opened ({fault}): free some space if the disk is full; otherwise move "
        f"{path.name}, and what begins with its name, away: the next start makes a new one, registers the clients of "
        "the roster, and repeats the round that was in progress"
    )


def database_fault(error: BaseException) -> str:
    """What went wrong, in one line: SQLAlchemy adds the statement, and a link."""
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {cause}".partition("\n")[0]


def without_zeroing(engine: Engine) -> None:
    """Do not overwrite deleted content with zeros.

    Python's SQLite may be compiled to do so, which writes each model twice. The write-ahead log and the disk keep
    copies anyway.
    """
    from sqlalchemy import event

    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA secure_delete = OFF").close())
    engine.dispose()  # connections that are open were made without it


def _make(path: Path) -> None:
    from flwr.supercore.state.alembic.utils import run_migrations
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))  # it will hold tokens; SQLite copies its mode
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        database.execute("PRAGMA journal_mode = WAL")  # makes the first page, and with it the size last
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Flower's migrations raise it
        run_migrations(create_engine(f"sqlite:///{path.absolute()}", poolclass=NullPool))
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # only this one file is renamed
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _tables_in_use(path: Path) -> set[str]:
    try:
        with closing(sqlite3.connect(path)) as database:
            names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            return {name for name in names if database.execute(f'SELECT 1 FROM "{name}" LIMIT 1').fetchone()}  # noqa: S608
    except sqlite3.Error as error:
        raise not_opened(path, database_fault(error)) from error
