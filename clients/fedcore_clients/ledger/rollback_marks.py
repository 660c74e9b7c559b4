"""Marks against rollback: the last seen head of the account, stored apart from it.

A ledger that is gone, restored from a backup, or replaced contradicts its marks. There is one in the client's home, and
one beside each data set whose directory is writable, since a whole home may be restored too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedcore.errors import StorageError
from fedcore.storage.files import write_whole

_SUFFIX = ".fedcore-ledger"
_MOST_BYTES = 65_536
RESTORE = "restore the newest ledger; if it is lost, see docs/ledger.md, 'When the account is lost'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What was last seen.

    Attributes:
        ledger: Identity of the account.
        data_set: Name of the data set; empty in the home's own mark.
        head: Hash of its newest entry.
    """

    path: Path
    ledger: str
    data_set: str
    head: str


class Marks:
    """The marks of one ledger.

    Args:
        home: File in the client's home; it also records where data sets were last seen.
        data: Path of each data set by its name, as far as it is known now.

    Raises:
        StorageError: The home's mark is damaged.
    """

    def __init__(self, home: Path, data: Mapping[str, Path]) -> None:
        self._home = home
        known = (_read(home) or {}).get("data", {})
        self._data = {name: Path(path) for name, path in known.items()} | {n: p.resolve() for n, p in data.items()}

    def found(self) -> list[Mark]:
        """All existing marks.

        Raises:
            StorageError: One is damaged.
        """
        places = [("", self._home), *((name, beside(path)) for name, path in self._data.items())]
        return [mark for name, path in places if (mark := _mark(name, path)) is not None]

    def check_absent(self, ledger: Path) -> None:
        """Refuse to begin a new account where there was one.

        Raises:
            StorageError: A mark says so.
        """
        for mark in self.found():
            raise StorageError(
                f"{ledger} is absent, and {mark.path} says that ledger {mark.ledger} has accounted for "
                f"{_what(mark)}, so what was spent is unknown; nothing is trained: {RESTORE}"
            )

    def write(self, ledger: str, head: str, data_set: str) -> None:
        """Record the head of the account, after it was flushed to disk and before data is opened.

        Raises:
            StorageError: A mark cannot be written, other than beside read-only data.
        """
        known = (_read(self._home) or {}).get("data", {})
        paths = dict(sorted((known | {name: str(path) for name, path in self._data.items()}).items()))
        write_whole(self._home, json.dumps({"ledger": ledger, "head": head, "data": paths}, indent=1) + "\n")
        path = self._data.get(data_set)
        if path is not None and can_be_marked(path):
            content = {"ledger": ledger, "data_set": data_set, "head": head}
            write_whole(beside(path), json.dumps(content, indent=1) + "\n")

    def unmarked(self) -> Iterator[str]:
        """Data sets beside which nothing can be written."""
        return (name for name, path in sorted(self._data.items()) if not can_be_marked(path))


def check_marks(marks: Iterable[Mark], ledger: str, *, holds: Callable[[str], bool]) -> None:
    """Compare an account with what was last seen.

    Args:
        ledger: Identity of the account.
        holds: Whether an entry of that hash is in the account.

    Raises:
        StorageError: It is another account, or an older one.
    """
    for mark in marks:
        if mark.ledger != ledger:
            raise StorageError(
                f"{mark.path} says that ledger {mark.ledger} accounts for {_what(mark)}, and this one is {ledger}: "
                f"one data set has one account. Use the client's home that holds it, or {RESTORE}"
            )
        if not holds(mark.head):
            raise StorageError(
                f"the ledger lacks the entry {mark.head[:12]}… that {mark.path} saw last: it was restored from a "
                f"backup, and what was spent since is not in it; nothing is trained: {RESTORE}"
            )


def beside(data: Path) -> Path:
    return data.with_name(f"{data.name}{_SUFFIX}")


def is_mark(path: Path) -> bool:
    """Whether a file is such a mark, or one that is being written."""
    return _SUFFIX in path.name


def can_be_marked(data: Path) -> bool:
    return bool(data.name) and data.exists() and os.access(data.parent, os.W_OK | os.X_OK)


def _mark(name: str, path: Path) -> Mark | None:
    content = _read(path)
    if content is None:
        return None
    found = str(content.get("data_set", name))
    if found != name:
        raise StorageError(
            f"{path} says that the data set is accounted for as {found!r}, and it was given as {name!r}: one data set "
            "has one name and one budget"
        )
    return Mark(path=path, ledger=content["ledger"], data_set=name, head=content["head"])


def _read(path: Path) -> dict[str, Any] | None:
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(_MOST_BYTES))
        texts = [content["ledger"], content["head"], *content.get("data", {}).values()]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StorageError(f"{path}, which records the ledger's last entry, cannot be read; {RESTORE}") from error
    if not all(isinstance(text, str) for text in texts):
        raise StorageError(f"{path}, which records the ledger's last entry, is damaged; {RESTORE}")
    return dict(content)


def _what(mark: Mark) -> str:
    return f"data set {mark.data_set!r}" if mark.data_set else "the data sets of this home"
