"""Sealed replies, kept until the next one of their data set: a repeated request gets the same reply.

A request that is answered anew each time averages the noise away.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedcore.errors import DataError, StorageError
from fedcore.storage.files import place_whole, write_whole
from fedcore.storage.mapped_bytes import mapped_file, pieces, sha256
from fedcore.wire.records import from_plain, one_array, to_plain

if TYPE_CHECKING:
    from flwr.app import RecordDict


class Outbox:
    """Replies on disk, the newest one of each data set.

    Args:
        directory: In the client's home; made when it is first needed.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, data_set: str, place: str, request: str, content: RecordDict) -> str:
        """Store a reply in place of the previous one; returns its hash.

        Args:
            place: Of the request, by which it is found again.
            request: Hash of what was asked.

        Raises:
            StorageError: It cannot be written; nothing may leave.
        """
        array = one_array(content)
        kept: dict[str, Any] = {"place": place, "request": request, "records": to_plain(content)}
        kept["array_sha256"] = sha256(array.data)
        digest = _digest(kept)
        with suppress(FileExistsError):
            self._directory.mkdir(mode=0o700)
        place_whole(self._array(data_set, digest), lambda aside: _write(aside, array.data))
        write_whole(self._header(data_set), json.dumps(kept) + "\n")
        for old in self._directory.glob(f"{_name(data_set)}-*.bin"):
            if old != self._array(data_set, digest):
                old.unlink(missing_ok=True)
        return digest

    def get(self, data_set: str, place: str, request: str, digest: str) -> RecordDict | None:
        """The reply to a request; ``None`` where it was superseded, was to another request, or is damaged.

        Args:
            digest: What `put` returned for it, from the ledger.
        """
        try:
            kept = json.loads(self._header(data_set).read_text(encoding="utf-8"))
            if (kept["place"], kept["request"]) != (place, request) or _digest(kept) != digest:
                return None
            data = mapped_file(self._array(data_set, digest))
            content = from_plain(kept["records"])
            if sha256(data) != kept["array_sha256"]:
                return None
            one_array(content).data = data  # type: ignore[assignment]
        except (OSError, ValueError, KeyError, TypeError, DataError):
            return None
        return content

    def _header(self, data_set: str) -> Path:
        return self._directory / f"{_name(data_set)}.json"

    def _array(self, data_set: str, digest: str) -> Path:
        return self._directory / f"{_name(data_set)}-{digest[:16]}.bin"


def _name(data_set: str) -> str:
    return hashlib.sha256(data_set.encode()).hexdigest()[:16]


def _digest(kept: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def _write(path: Path, data: memoryview | bytes) -> None:
    try:
        with path.open("wb") as file:
            for piece in pieces(data):
                file.write(piece)
    except ValueError as error:
        raise StorageError(f"{path} could not be written: {error}") from error
