"""Noticing that a data set has other rows than were charged for last.

The fingerprint of a data set's files is kept in the ledger, and leaves it with an export alone. It is keyed with the
home's secret, so that whoever sees it cannot tell whether a guessed table is the one.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from fedcore_clients.ledger.entry import Entry
from fedcore_clients.ledger.marks import is_mark

_ROWS, _BEFORE = "rows", "rows_before"
_MOST_BYTES = 1 << 30  # what is read at each start; of larger data sets, sizes and times of the files are compared
_DIGITS = 16
_PIECE_BYTES = 1 << 20


def fingerprints(data: Mapping[str, Path], secret: int) -> dict[str, str]:
    """The fingerprint of each data set whose files can be read.

    Args:
        data: Path of each data set by its name: a file, or a directory with all that is in it.
        secret: The home's own.
    """
    found = {}
    for name, path in data.items():
        try:
            found[name] = _fingerprint(path, str(secret).encode())
        except OSError:
            continue  # a request for it is refused with what is wrong
    return found


def note_of(rows: str, before: str | None) -> str:
    """What a charge says of the rows that it is for; nothing where they are not known."""
    if not rows:
        return ""
    return json.dumps({_ROWS: rows} | ({_BEFORE: before} if before not in (None, rows) else {}))


def rows_in(entry: Entry) -> str | None:
    """The fingerprint in a charge; ``None`` where there is none, as in those of earlier versions."""
    return _field(entry, _ROWS)


def changes_in(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The charges that were the first for other rows than the one before."""
    return (entry for entry in entries if _field(entry, _BEFORE) is not None)


def change_in_words(data_set: str, last: Entry) -> str:
    """What the owner is told at the start.

    Args:
        last: The newest charge, which was for other rows.
    """
    return (
        f"the rows of data set {data_set!r} are not those of its last charge, entry {last.number} of the ledger, on "
        f"{last.time[:10]}. The next charge notes the change, and the budget continues as it is; if these are other "
        "people's records, give them another name in --data, and so a budget of their own"
    )


def _field(entry: Entry, name: str) -> str | None:
    if not entry.reference.startswith("charge ") or not entry.note:
        return None
    value = json.loads(entry.note).get(name)
    return None if value is None else str(value)


def _fingerprint(path: Path, key: bytes) -> str:
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    listed = [(each, each.stat()) for each in files if not is_mark(each)]
    reads = sum(stat.st_size for _, stat in listed) <= _MOST_BYTES
    digest = hmac.new(key, digestmod=hashlib.sha256)
    for each, stat in listed:
        name = each.relative_to(path).as_posix() if path.is_dir() else ""
        head = [name, stat.st_size, None if reads else stat.st_mtime_ns]
        digest.update(json.dumps(head).encode() + b"\n")
        if reads:
            with each.open("rb") as file:
                while piece := file.read(_PIECE_BYTES):
                    digest.update(piece)
    return digest.hexdigest()[:_DIGITS]
