"""The file of a ledger: SQLite, in transactions that are on disk before anything depends on them."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedcore.errors import StorageError
from fedcore_clients.ledger.entry import COLUMNS, FIRST, Entry, Kind
from fedcore_clients.ledger.rollback_marks import RESTORE, Marks, check_marks
from fedcore_clients.ledger.schema import APPLICATION, STATEMENTS, VERSION
from fedcore_clients.policy.approvals import Clock

_WAIT_SECONDS = 20.0
_INSERT = f"INSERT INTO entry ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608 - own names
_SELECT = f"SELECT {', '.join(COLUMNS)} FROM entry"  # noqa: S608 - own names


class Book:
    """The ledger within one transaction.

    Attributes:
        id: Identity of the account.
        head: Hash of the newest entry; 64 zeros where there is none.
        touched: The data set of the newest entry that was appended here.
    """

    def __init__(self, connection: sqlite3.Connection, clock: Clock) -> None:
        self._connection, self._clock = connection, clock
        self.id = str(connection.execute("SELECT id FROM identity").fetchone()[0])
        last = connection.execute("SELECT number, hash FROM entry ORDER BY number DESC LIMIT 1").fetchone()
        self._number: int = last[0] if last else 0
        self.head: str = last[1] if last else FIRST
        self.touched: str | None = None

    def append(self, kind: Kind, data_set: str, *, reference: str, **values: Any) -> Entry:
        """Add an entry; it counts once the transaction is committed.

        Raises:
            sqlite3.IntegrityError: A cap, a reservation or the uniqueness of `reference` forbids it.
        """
        bare = Entry(
            number=self._number + 1,
            time=self._clock().isoformat(),
            kind=kind,
            data_set=data_set,
            reference=reference,
            previous=self.head,
            **values,
        )
        entry = Entry.from_row((*bare.row()[:-1], bare.computed_hash()))
        self._connection.execute(_INSERT, entry.row())
        self._number, self.head, self.touched = entry.number, entry.hash, data_set
        return entry

    def entries(self, where: str = "", *values: Any) -> Iterator[Entry]:
        """Oldest first.

        Args:
            where: A condition in SQL, with a ``?`` for each value.
        """
        condition = f" WHERE {where}" if where else ""
        for row in self._connection.execute(f"{_SELECT}{condition} ORDER BY number", values):
            yield Entry.from_row(row)

    def last(self, where: str, *values: Any) -> Entry | None:
        """The newest entry that meets `where`, as in `entries`."""
        query = f"{_SELECT} WHERE {where} ORDER BY number DESC LIMIT 1"
        row = self._connection.execute(query, values).fetchone()
        return None if row is None else Entry.from_row(row)

    def total(self, measure: str, where: str, *values: Any) -> int:
        query = f"SELECT coalesce(sum({measure}), 0) FROM entry WHERE {where}"  # noqa: S608 - own names, values apart
        return int(self._connection.execute(query, values).fetchone()[0])

    def holds(self, head: str) -> bool:
        return head == FIRST or any(self.entries("hash = ?", head))

    def damage(self) -> list[str]:
        """Damage that SQLite finds in the file, and changed tables or triggers."""
        checked = [str(row[0]) for row in self._connection.execute("PRAGMA quick_check")]
        query = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"
        found = {str(row[0]) for row in self._connection.execute(query)}
        changed = [each.split("(")[0].split("BEFORE")[0].strip() for each in set(STATEMENTS) - found]
        return [line for line in checked if line != "ok"] + [f"{each}: absent or changed" for each in sorted(changed)]


class LedgerFile:
    """The account on disk.

    Args:
        path: ``ledger.db`` in the client's home; its mark is beside it.
        data: Path of each data set by its name, as far as it is known.
        clock: The present, with its time zone.
    """

    def __init__(self, path: Path, clock: Clock, data: Mapping[str, Path]) -> None:
        self.path, self._clock = path, clock
        self.marks = Marks(path.with_suffix(".mark"), data)

    def exists(self) -> bool:
        return self.path.exists() and self.path.stat().st_size > 0

    def create(self) -> None:
        """Begin an account; does nothing where there is one.

        Raises:
            StorageError: There was one, as a mark says, or the file cannot be made.
        """
        if not self.exists():
            self.marks.check_absent(self.path)
        elif self.marks.found():
            return
        with self._connected(create=True) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                for statement in STATEMENTS:
                    connection.execute(statement)
                connection.execute("INSERT INTO identity VALUES (?)", (secrets.token_hex(8),))
                connection.execute(f"PRAGMA application_id = {APPLICATION}")
                connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute("COMMIT")
        _flush_directory(self.path.parent)

    @contextmanager
    def writing(self) -> Iterator[Book]:
        """An exclusive transaction: on disk, and marked, when the block is left.

        Raises:
            StorageError: The file is absent, damaged, of a newer version, read-only, in use, or contradicts its
                marks; nothing was written.
        """
        with self._opened("BEGIN IMMEDIATE") as (connection, book):
            yield book
            if book.touched is not None:
                connection.execute("COMMIT")
                self.marks.write(book.id, book.head, book.touched)

    @contextmanager
    def reading(self) -> Iterator[Book]:
        with self._opened("BEGIN") as (_, book):
            yield book

    @contextmanager
    def _opened(self, begin: str) -> Iterator[tuple[sqlite3.Connection, Book]]:
        if not self.exists():
            self.marks.check_absent(self.path)
            raise StorageError(
                f"there is no ledger at {self.path}; fedcore ledger init makes one, and fedcore client start does too"
            )
        marks = self.marks.found()  # before the transaction: what they saw was committed, so the transaction sees it
        with self._connected(begin) as connection:
            _check_version(connection, self.path)
            book = Book(connection, self._clock)
            check_marks(marks, book.id, holds=book.holds)
            yield connection, book

    @contextmanager
    def _connected(self, begin: str = "BEGIN IMMEDIATE", *, create: bool = False) -> Iterator[sqlite3.Connection]:
        connection = None
        try:
            if create:
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            connection = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode=rw", uri=True, timeout=_WAIT_SECONDS, isolation_level=None
            )
            if create:
                connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(begin)
            yield connection
        except (sqlite3.DatabaseError, OSError) as error:
            if isinstance(error, sqlite3.IntegrityError):
                raise
            raise StorageError(_explained(self.path, error)) from error
        except ValueError as error:
            raise StorageError(f"the ledger {self.path} holds content unknown to this version: {error}") from error
        finally:
            if connection is not None:
                connection.close()  # what was not committed is not there


def copied(source: LedgerFile, path: Path, clock: Clock) -> LedgerFile:
    """A copy for trials, without marks; empty where there is no account yet."""
    copy = LedgerFile(path, clock, {})
    if source.exists():
        with source._connected() as connection, sqlite3.connect(path) as target:
            connection.execute("COMMIT")
            connection.backup(target)
        target.close()
    else:
        source.marks.check_absent(source.path)
        copy.create()
    return copy


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION:
        raise StorageError(f"{path} is not a ledger of fedcore; {_NOTHING}")
    if version > VERSION:
        raise StorageError(
            f"the ledger {path} was written by a newer version of fedcore (format {version}, and this one knows "
            f"{VERSION}): install that version; {_NOTHING}"
        )


_NOTHING = "nothing is trained, since what was spent is unknown"


def _explained(path: Path, error: Exception) -> str:
    text = str(error)
    if "locked" in text or "busy" in text:
        return f"the ledger {path} is held by another process for more than {_WAIT_SECONDS:g} seconds; end that one"
    if "readonly" in text or isinstance(error, PermissionError):
        return f"the ledger {path} can be read and not be written; nothing is trained before it can"
    if "full" in text:
        return f"the disk is full: {path} could not be written, and its previous content is unchanged"
    if isinstance(error, sqlite3.OperationalError | OSError) and "malformed" not in text and "no such" not in text:
        return f"the ledger {path} cannot be opened: {text}; nothing is trained before it can"
    return f"the ledger {path} is damaged ({text}); {_NOTHING}: {RESTORE}"


def _flush_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
