"""What travels between the engine and its actors: the deployment's records, with the client's name and its memory."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from fedcore.errors import (
    DataError,
    DeviceError,
    EngineError,
    FedcoreError,
    LayoutError,
    PlanError,
    PrivacyError,
    TaskError,
)
from fedcore_simulations.engines.failures import Failure

_CLIENT = "client"
_KINDS = {
    kind.__name__: kind for kind in (DataError, DeviceError, LayoutError, PlanError, PrivacyError, TaskError)
}  # what one text makes; others become an EngineError


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A client's part of a message.

    Attributes:
        client: Its name.
        kept: Its file of memory; empty where it has none.
    """

    client: str
    kept: bytes = b""

    def around(self, content: RecordDict) -> RecordDict:
        """The records with the client's part; arrays are shared, not copied."""
        return RecordDict({**content, _CLIENT: ConfigRecord({"name": self.client, "kept": self.kept})})


def opened(content: RecordDict) -> tuple[Parcel, RecordDict]:
    """The client's part, and the other records."""
    rest = RecordDict({name: record for name, record in content.items() if name != _CLIENT})
    record = content[_CLIENT]
    return Parcel(client=str(record["name"]), kept=record["kept"]), rest  # type: ignore[arg-type]


def with_own_bytes(content: RecordDict) -> RecordDict:
    """The records with arrays that can leave the process: memory that is only looked at cannot."""
    for record in content.values():
        if isinstance(record, ArrayRecord):
            for array in record.values():
                array.data = bytes(array.data)
    return content


def failure(error: FedcoreError) -> RecordDict:
    """An error as a reply."""
    return RecordDict({"failed": ConfigRecord({"kind": type(error).__name__, "why": str(error)})})


def check_answered(content: RecordDict) -> None:
    """Raise the error that a reply holds, if any."""
    record = content.get("failed")
    if isinstance(record, ConfigRecord):
        raise _KINDS.get(str(record["kind"]), EngineError)(str(record["why"]))


def packed_failure(failure: Failure) -> RecordDict:
    """A client that is left out, as a reply."""
    return RecordDict({"left-out": ConfigRecord(asdict(failure))})


def failure_in(content: RecordDict) -> Failure | None:
    """The failure that a reply holds, if any."""
    record = content.get("left-out")
    return Failure(**dict(record)) if isinstance(record, ConfigRecord) else None  # type: ignore[arg-type]


def bytes_of(path: Path) -> bytes:
    """A client's file of memory; empty where there is none."""
    return path.read_bytes() if path.is_file() else b""
