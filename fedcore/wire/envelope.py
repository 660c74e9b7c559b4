"""Signed envelopes: who says what to whom, in which round, whatever carries it.

The relay between a server and its clients is not trusted: it can drop a message, and nothing else. Each
message carries a statement, signed with the sender's Ed25519 key (RFC 8032), over the run, its incarnation,
round and attempt, source and destination, the hash of the records and of the array. The statement and the
small records are checked before the array is fetched, the array before it is decoded.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from fedcore.errors import TrustError
from fedcore.trust.identity import Identity, PublicIdentity
from fedcore.wire.records import inline_small_array, outlined

ANYONE = "*"
"""Destination of a hello, which is sent before a client's name is known."""

_RECORD, _DOMAIN = "envelope", b"fedcore envelope 1\n"
_LONGEST_STATEMENT = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in a run a message belongs.

    Attributes:
        incarnation: How often the run's driver has been started; it makes what is sent after a restart newer
            than what was sent before.
        kind: ``hello``, ``train`` or ``evaluate``.
    """

    run: str
    incarnation: int
    round: int
    attempt: int
    kind: str

    @property
    def order(self) -> tuple[int, int, int]:
        """Grows from request to request of one kind in one run."""
        return (self.incarnation, self.round, self.attempt)


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A checked statement.

    Attributes:
        nonce: 32 random hexadecimal digits, fresh for every message.
        in_reply_to: The request's nonce; empty in a request.
        chain_head: Head of the sender's event log.
        records_sha256: Hash of the records without array data.
        array_sha256: Hash of the array's bytes; empty where there is none.
    """

    place: Place
    source: str
    destination: str
    nonce: str
    in_reply_to: str
    chain_head: str
    records_sha256: str
    array_sha256: str


def seal(
    content: RecordDict,
    place: Place,
    *,
    identity: Identity,
    destination: str,
    chain_head: str,
    in_reply_to: str = "",
) -> tuple[RecordDict, Envelope]:
    """Put `content` into a signed envelope.

    Returns:
        New records that share a large array's memory with `content`, and what was signed.
    """
    content = inline_small_array(content)
    envelope = Envelope(
        place=place,
        source=identity.name,
        destination=destination,
        nonce=secrets.token_hex(16),
        in_reply_to=in_reply_to,
        chain_head=chain_head,
        records_sha256=_hash_of_records(content),
        array_sha256=_hash_of_array(content),
    )
    statement = json.dumps(asdict(envelope), sort_keys=True).encode()
    signed = ConfigRecord({"statement": statement, "signature": identity.sign(_DOMAIN + statement)})
    return RecordDict({**content, _RECORD: signed}), envelope


def unsealed(content: RecordDict) -> RecordDict:
    """The records alone, once the envelope was checked.

    Raises:
        DataError: A small array in them is malformed.
    """
    return outlined(RecordDict({name: record for name, record in content.items() if name != _RECORD}))


def claimed_source(content: RecordDict) -> str:
    """Who a message says it is from, before anything is checked: whose key to check it with.

    Raises:
        TrustError: There is no envelope, or it is malformed.
    """
    return _statement(content)[0].source


def open_envelope(content: RecordDict, signer: PublicIdentity, *, destination: str) -> Envelope:
    """Check signature, addresses and records; the array is left to `check_array`.

    Args:
        destination: Who opens it.

    Raises:
        TrustError: The envelope is absent or malformed, not signed by `signer`, meant for another party, or
            around other records.
    """
    envelope, statement, signature = _statement(content)
    signer.verify(signature, _DOMAIN + statement)
    addressed = destination if envelope.place.kind != "hello" or envelope.in_reply_to else ANYONE
    if envelope.source != signer.name or envelope.destination != addressed:
        raise TrustError("the envelope is addressed from or to another party")
    travels_apart = any(isinstance(record, ArrayRecord) for record in content.values())
    if envelope.records_sha256 != _hash_of_records(content) or travels_apart != bool(envelope.array_sha256):
        raise TrustError("the records are not those that were signed")
    return envelope


def check_array(content: RecordDict, envelope: Envelope) -> None:
    """Check that the array, now that it is here, is the one that was signed.

    A small array came inside a record, and was checked with the records.

    Raises:
        TrustError: It is another.
    """
    if envelope.array_sha256 and _hash_of_array(content) != envelope.array_sha256:
        raise TrustError("the array is not the one that was signed")


def _statement(content: RecordDict) -> tuple[Envelope, bytes, bytes]:
    record = content.get(_RECORD)
    if not isinstance(record, ConfigRecord):
        raise TrustError("the message has no envelope")
    statement, signature = record.get("statement"), record.get("signature")
    if not (isinstance(statement, bytes) and isinstance(signature, bytes)) or len(statement) > _LONGEST_STATEMENT:
        raise TrustError("the envelope is malformed")
    try:
        return _envelope(json.loads(statement)), statement, signature
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise TrustError("the envelope's statement is malformed") from error


def _envelope(values: Mapping[str, Any]) -> Envelope:
    place = values["place"]
    if set(values) != {field.name for field in fields(Envelope)} or set(place) != {f.name for f in fields(Place)}:
        raise ValueError("other fields than expected")
    texts = [place["run"], place["kind"], *(value for name, value in values.items() if name != "place")]
    numbers = [place["incarnation"], place["round"], place["attempt"]]
    if not all(type(text) is str and len(text) <= 200 for text in texts):
        raise TypeError("expected text")
    if not all(type(number) is int and 0 <= number < 2**53 for number in numbers):
        raise TypeError("expected whole numbers")
    return Envelope(**{**values, "place": Place(**place)})


def _hash_of_records(content: RecordDict) -> str:
    """Hash of all records but the envelope; of an array its type and shape, its bytes have their own hash."""
    plain = {name: _plain(record) for name, record in content.items() if name != _RECORD}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _plain(record: Any) -> Any:
    if isinstance(record, ArrayRecord):
        return {name: [array.dtype, list(array.shape), array.stype] for name, array in record.items()}
    if isinstance(record, ConfigRecord | MetricRecord):
        kind = "config" if isinstance(record, ConfigRecord) else "metrics"
        return [kind, {name: {"bytes": v.hex()} if isinstance(v, bytes) else v for name, v in record.items()}]
    raise TrustError("the message holds a record of a kind that is not expected")


def _hash_of_array(content: RecordDict) -> str:
    arrays = [array for record in content.values() if isinstance(record, ArrayRecord) for array in record.values()]
    if len(arrays) > 1:
        raise TrustError("expected at most one array in a message")
    return hashlib.sha256(arrays[0].data).hexdigest() if arrays else ""
