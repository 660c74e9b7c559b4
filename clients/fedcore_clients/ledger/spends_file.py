"""The account of earlier versions, ``spends.jsonl``: imported once, and never too little of it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedcore.errors import StorageError
from fedcore_clients.ledger.mechanism import Mechanism, from_fields


@dataclass(frozen=True, slots=True, kw_only=True)
class OldCharge:
    """One line.

    Attributes:
        mechanism: ``None`` where nothing was promised.
        reference: The same whenever the file is read.
    """

    data_set: str
    run: str
    round: int
    mechanism: Mechanism | None
    reference: str


def take_over(path: Path, write: Callable[[OldCharge], None]) -> int:
    """Pass every charge to `write`, then rename the file; after a crash in between the next call completes it.

    A last line that a crash cut short had stopped its own charge, so no data was opened for it; it is counted all the
    same, as one more like the last whole one.

    Args:
        write: Records a charge, unless its reference is there already.

    Returns:
        How many charges there were.

    Raises:
        StorageError: The file cannot be read, is damaged before its last line, or cannot be renamed.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        charges = list(_charges(content))
    except ValueError as error:
        raise StorageError(
            f"{path} is damaged, so what was spent is unknown; nothing is trained before it is restored"
        ) from error
    for charge in charges:
        write(charge)
    try:
        path.replace(path.with_name(f"{path.name}.taken-over"))
    except OSError as error:
        raise StorageError(f"{path} could not be renamed: {error.strerror or error}") from error
    return len(charges)


def _charges(content: bytes) -> Iterator[OldCharge]:
    *lines, torn = content.split(b"\n")
    seen = Counter[bytes]()
    for line in [*lines, *(lines[-1:] if torn else [])]:
        seen[line] += 1
        digest = hashlib.sha256(line).hexdigest()
        yield _charge(json.loads(line), f"taken over {digest} {seen[line]}")


def _charge(content: Any, reference: str) -> OldCharge:
    try:
        return OldCharge(
            data_set=str(content["data_set"]),
            run=str(content["run"]),
            round=int(content["round"]),
            mechanism=None if content["event"] is None else from_fields(content["event"]),
            reference=reference,
        )
    except (KeyError, TypeError) as error:
        raise ValueError("not a charge") from error
