"""One line of the account, and the hash that chains it to the previous one."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from fedcore_clients.ledger.mechanism import Mechanism, from_fields

FIRST = "0" * 64


class Kind(StrEnum):
    BUDGET = "budget"
    """A data set was given a budget, or another ε or δ; `units` and `slots` are its cap."""

    RESERVE = "reserve"
    """Rounds of a run were reserved."""

    CHARGE = "charge"
    """A reserved round was charged; data may be opened."""

    UNBOUNDED = "unbounded"
    """A use of the data that promises nothing, so that ε is infinite."""

    SPEND = "spend"
    """A use of the data outside of fedcore, recorded by hand or from an older account."""

    SEAL = "seal"
    """The reply to a charged request is ready to leave; its hash is in the note."""

    REFUND = "refund"
    """Unused reservations of a run were returned."""


USES = (Kind.CHARGE, Kind.UNBOUNDED, Kind.SPEND)
"""Kinds that count as released."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line, as it is stored.

    Attributes:
        number: From 1, without gaps.
        time: ISO 8601, by this host's clock; nothing depends on it.
        run: Name of the run, ``@`` and its coordinator; empty where there is none.
        rounds: Reserved, charged, or returned.
        mechanism: JSON; empty where there is none.
        note: JSON or a text, by kind.
        reference: Unique among entries; makes repeated writes idempotent.
        previous: Hash of the previous entry; 64 zeros for the first.
    """

    number: int
    time: str
    kind: Kind
    data_set: str
    run: str = ""
    incarnation: int = 0
    round: int = 0
    attempt: int = 0
    rounds: int = 0
    units: int = 0
    slots: int = 0
    mechanism: str = ""
    note: str = ""
    reference: str
    previous: str
    hash: str = ""

    def computed_hash(self) -> str:
        """SHA-256 over all other fields."""
        content = {name: value for name, value in asdict(self).items() if name != "hash"}
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def parsed_mechanism(self) -> Mechanism | None:
        """What was run; ``None`` where nothing was promised.

        Raises:
            ValueError: It is unknown here.
        """
        return from_fields(json.loads(self.mechanism)) if self.mechanism else None

    def row(self) -> tuple[Any, ...]:
        """Values in the order of `COLUMNS`."""
        return tuple(str(value) if isinstance(value, Kind) else value for value in asdict(self).values())

    @classmethod
    def from_row(cls, row: tuple[Any, ...]) -> Entry:
        """Read what `row` gave; raises ValueError where the kind is unknown here."""
        values = dict(zip(COLUMNS, row, strict=True))
        if values["kind"] not in set(Kind):
            raise ValueError(f"entry {values['number']} is of the unknown kind {values['kind']!r}")
        return cls(**values | {"kind": Kind(values["kind"])})


COLUMNS = tuple(field.name for field in fields(Entry))
