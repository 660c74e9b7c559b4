"""Detects that a data set's rows changed since its last charge.

The fingerprint of a data set's files is stored in the ledger, and leaves it only by an export. It is keyed with the
home's secret, so that nobody can test whether a guessed table is the one.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from fedcore_clients.ledger.entry import Entry
from fedcore_clients.ledger.rollback_marks import is_mark

_ROWS, _BEFORE = "rows", "rows_before"
_MOST_BYTES = 1 << 30  # bytes read of a data set; for larger ones, sizes and times of the files are compared
_DIGITS = 16
_PIECE_BYTES = 1 << 20
_Listed: TypeAlias = tuple[Path, int, int]


class Fingerprints(Mapping[str, str]):
    """The current fingerprint of each data set whose files can be read.

    Files are read again when their sizes or times have changed.

    Args:
        data: Path of each data set by its name: a file, or a directory with everything in it.
        secret: The home's own.
    """

    def __init__(self, data: Mapping[str, Path], secret: int) -> None:
        self._data, self._key = data, str(secret).encode()
        self._taken: dict[str, tuple[list[_Listed], str]] = {}

    def __getitem__(self, name: str) -> str:
        path = self._data[name]
        try:
            listed = _listed(path)
            taken, fingerprint = self._taken.get(name, (None, ""))
            if taken != listed:
                fingerprint = _fingerprint(listed, path, self._key)
        except OSError as error:  # a request for it is refused with the reason
            raise KeyError(name) from error
        self._taken[name] = listed, fingerprint
        return fingerprint

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._data if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def note_of(rows: str, before: str | None) -> str:
    """A charge's note about its rows; empty where they are not known."""
    if not rows:
        return ""
    return json.dumps({_ROWS: rows} | ({_BEFORE: before} if before not in (None, rows) else {}))


def rows_in(entry: Entry) -> str | None:
    """The fingerprint in a charge; ``None`` where there is none, as in those of earlier versions."""
    return _field(entry, _ROWS)


def changes_in(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The first charges for other rows than the previous charge."""
    return (entry for entry in entries if _field(entry, _BEFORE) is not None)


def change_in_words(data_set: str, last: Entry) -> str:
    """The message to the owner at the start.

    Args:
        last: The newest charge, which was for other rows.
    """
    return (
        f"the rows of data set {data_set!r} have changed since its last charge, entry {last.number} of the ledger, on "
        f"{last.time[:10]}. The next charge notes the change, and the budget continues as it is; if these are other "
        "people's records, give them another name in --data, so that they have a budget of their own"
    )


def _field(entry: Entry, name: str) -> str | None:
    if not entry.reference.startswith("charge ") or not entry.note:
        return None
    value = json.loads(entry.note).get(name)
    return None if value is None else str(value)


def _listed(path: Path) -> list[_Listed]:
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    return [(each, (stat := each.stat()).st_size, stat.st_mtime_ns) for each in files if not is_mark(each)]


def _fingerprint(listed: list[_Listed], path: Path, key: bytes) -> str:
    reads = sum(size for _, size, _ in listed) <= _MOST_BYTES
    digest = hmac.new(key, digestmod=hashlib.sha256)
    for each, size, time in listed:
        name = each.relative_to(path).as_posix() if path.is_dir() else ""
        digest.update(json.dumps([name, size, None if reads else time]).encode() + b"\n")
        if reads:
            with each.open("rb") as file:
                while piece := file.read(_PIECE_BYTES):
                    digest.update(piece)
    return digest.hexdigest()[:_DIGITS]
