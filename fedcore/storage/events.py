"""An event log in JSON lines; every line has the hash of the one before.

Changing, dropping or inserting a line changes every hash after it. The newest hash, the chain's head,
is in every signed envelope and recorded by the other side, so that no single party can rewrite
its own history without contradicting what others hold.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedcore.errors import StorageError
from fedcore.storage.files import append_line

FIRST_HEAD = "0" * 64
_OWN_FIELDS = frozenset({"number", "time", "previous", "hash"})


class EventLog:
    """Appends events; every line is on disk before `append` returns.

    An incomplete last line after a crash is removed on opening: it was never acknowledged.

    Attributes:
        head: Hash of the newest line, or 64 zeros.

    Raises:
        StorageError: The file cannot be read, or its newest complete line is not an event.
    """

    def __init__(self, path: Path, *, clock: Callable[[], datetime] | None = None) -> None:
        self.path = path
        self._clock = clock or (lambda: datetime.now(UTC))
        self._lock = threading.Lock()
        self.number, self.head = _last_event(path)

    def append(self, event: str, **fields: Any) -> str:
        """Write one event and return the new head.

        Args:
            event: One or two words, such as ``round-committed``.
            fields: Plain values; nothing of the data, and outside text only with a bound.

        Raises:
            ValueError: A field has a name that every event has.
        """
        if taken := _OWN_FIELDS & fields.keys():
            raise ValueError(f"every event has {', '.join(sorted(taken))} of its own; name the field otherwise")
        with self._lock:
            line = {"number": self.number + 1, "time": self._clock().isoformat(timespec="milliseconds"), "event": event}
            line |= fields | {"previous": self.head}
            head = _hash(line)
            append_line(self.path, json.dumps(line | {"hash": head}, allow_nan=False))
            self.number, self.head = self.number + 1, head
            return head


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """The events of a log, oldest first; an incomplete last line is left out.

    Raises:
        StorageError: The file cannot be read, or a line is not a JSON object.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(f"the event log {path} cannot be read: {error.strerror}") from error
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            event = json.loads(line, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            raise StorageError(f"the event log {path} is damaged at line {number}: it is not JSON") from error
        if not isinstance(event, dict):
            raise StorageError(f"the event log {path} is damaged at line {number}: expected a JSON object")
        yield event


def verify_events(path: Path) -> list[str]:
    """Every break in the chain, in words; raises `StorageError` if the file cannot be read."""
    problems, head = [], FIRST_HEAD
    for number, event in enumerate(read_events(path), start=1):
        if event.get("number") != number:
            problems.append(f"line {number}: expected event number {number}, found {event.get('number')!r}")
        if event.get("previous") != head:
            problems.append(f"line {number}: it does not follow the line before it")
        unhashed = {name: value for name, value in event.items() if name != "hash"}
        if event.get("hash") != _hash(unhashed):
            problems.append(f"line {number}: its content is not what was hashed when it was written")
        head = str(event.get("hash"))
    return problems


def missing_heads(path: Path, witness: Path, *, party: str) -> list[str]:
    """Heads that `witness`, another party's log, recorded and that the log at `path` lacks.

    Args:
        party: Name of the log's owner, as `witness` names it in its ``peer`` fields.
    """
    held = {FIRST_HEAD} | {str(event.get("hash")) for event in read_events(path)}
    return [
        f"event {event.get('number')} of {witness} saw the head {str(event['peer_head'])[:12]}…, which the log lacks"
        for event in read_events(witness)
        if event.get("peer") == party and "peer_head" in event and event["peer_head"] not in held
    ]


def _no_number(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def _hash(line: Mapping[str, Any]) -> str:
    canonical = json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _last_event(path: Path) -> tuple[int, str]:
    """Number and hash of the newest complete line; an incomplete one is cut off."""
    with contextlib.suppress(FileNotFoundError):
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) != len(content):
            os.truncate(path, len(whole))
        if whole:
            try:
                event = json.loads(whole[:-1].rsplit(b"\n", 1)[-1])
                return int(event["number"]), str(event["hash"])
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
                raise StorageError(f"the event log {path} is damaged: its last line is not an event") from error
    return 0, FIRST_HEAD
