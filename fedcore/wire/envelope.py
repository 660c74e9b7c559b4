"""Signed envelopes: who sends what to whom, in which round, over any transport.

The relay between a server and its clients is not trusted: it can only drop messages. Each
message carries a statement, signed with the sender's Ed25519 key (RFC 8032), over the run, its incarnation,
round and attempt, source and destination, the hash of the records and of the array. The statement and the
small records are checked before the array is fetched, the array before it is decoded.

Flower moves every record as an object of its own, in a request of its own, and an array as three more: most of
a small round. So all records travel in one, and a small array with them; a large one travels in pieces.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, cast

from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from fedcore.errors import DataError, TrustError
from fedcore.storage.mapped_bytes import sha256
from fedcore.trust.identity import Identity, PublicIdentity
from fedcore.wire.objects import RemoteArray, record_of
from fedcore.wire.records import ARRAYS, from_plain, to_plain

_RECORD, _DOMAIN = "envelope", b"fedcore envelope 1\n"
_LONGEST_STATEMENT = 16_384
_LARGEST_INLINE = 1 << 20
_NAME, _NONCE, _HASH = (re.compile(form) for form in (r"[A-Za-z0-9._-]{1,200}", "[0-9a-f]{32}|", "[0-9a-f]{64}|"))
_FORMS = {
    "run": _NAME,
    "kind": _NAME,
    "source": _NAME,
    "destination": _NAME,
    "nonce": _NONCE,
    "in_reply_to": _NONCE,
    "chain_head": _HASH,
    "records_sha256": _HASH,
    "array_sha256": _HASH,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in a run a message belongs.

    Attributes:
        incarnation: Number of starts of the run's driver; it orders messages sent before and after a restart.
        kind: ``train`` or ``evaluate``.
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
        not_after: Unix time in seconds after which a request is refused; 0 in a reply.
        chain_head: Head of the sender's event log.
    """

    place: Place
    source: str
    destination: str
    nonce: str
    in_reply_to: str
    not_after: int
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
    not_after: int = 0,
    array_sha256: str | None = None,
) -> tuple[RecordDict, Envelope]:
    """Put `content` into a signed envelope.

    Args:
        array_sha256: From `hash_of_array`, if one array is sealed for many.

    Returns:
        Records to send, which share a large array's memory with `content`, and the signed envelope.

    Raises:
        DataError: A record belongs to no message of fedcore.
    """
    records = json.dumps(to_plain(content)).encode()
    array = _array_in(content)
    envelope = Envelope(
        place=place,
        source=identity.name,
        destination=destination,
        nonce=secrets.token_hex(16),
        in_reply_to=in_reply_to,
        not_after=not_after,
        chain_head=chain_head,
        records_sha256=hashlib.sha256(records).hexdigest(),
        array_sha256=hash_of_array(content) if array_sha256 is None else array_sha256,
    )
    statement = json.dumps(asdict(envelope), sort_keys=True).encode()
    sealed = ConfigRecord({"statement": statement, "signature": identity.sign(_DOMAIN + statement), "records": records})
    if array is None:
        return RecordDict({_RECORD: sealed}), envelope
    if len(array.data) <= _LARGEST_INLINE:
        sealed["data"] = bytes(array.data)
        return RecordDict({_RECORD: sealed}), envelope
    return RecordDict({_RECORD: sealed, ARRAYS: content[ARRAYS]}), envelope


def hash_of_array(content: RecordDict) -> str:
    """SHA-256 of the array's bytes; empty without an array."""
    array = _array_in(content)
    return "" if array is None else sha256(array.data)


def received(
    small: Mapping[str, ConfigRecord | MetricRecord], arrays: Mapping[str, Mapping[str, RemoteArray]]
) -> RecordDict:
    """The received small records of a message, and its array without bytes."""
    empty = {
        name: record_of({key: Array(each.dtype, each.shape, each.stype, b"") for key, each in arrays_of.items()})
        for name, arrays_of in arrays.items()
    }
    return RecordDict({**small, **empty})


def unsealed(sealed: RecordDict) -> RecordDict:
    """The records in a checked envelope; a large array without its bytes, unless they are here.

    Raises:
        DataError: They are malformed, or their array differs from the declared one.
    """
    record = sealed.get(_RECORD)
    records = record.get("records") if isinstance(record, ConfigRecord) else None
    data = record.get("data") if isinstance(record, ConfigRecord) else None
    try:
        content = from_plain(json.loads(cast(bytes, records)))
    except (TypeError, ValueError, RecursionError, AttributeError) as error:
        raise DataError("the message's records are malformed") from error
    array, apart = _array_in(content), _array_in(sealed)
    if array is not None and apart is not None:
        if (array.dtype, array.shape, array.stype) != (apart.dtype, apart.shape, apart.stype):
            raise DataError("the array is declared to be another than the one that came")
        array.data = apart.data
    elif array is not None and isinstance(data, bytes):
        array.data = data
    return content


def claimed_source(sealed: RecordDict) -> str:
    """The sender that a message claims, unchecked: its key checks the signature.

    Raises:
        TrustError: The envelope is missing or malformed.
    """
    return _statement(sealed)[0].source


def open_envelope(sealed: RecordDict, signer: PublicIdentity, *, destination: str) -> Envelope:
    """Check signature, addresses and records, and a small array with them; a large one is left to `check_array`.

    Raises:
        TrustError: The envelope is missing or malformed, not signed by `signer`, meant for another party, or
            around other records.
    """
    envelope, statement, signature = _statement(sealed)
    signer.verify(signature, _DOMAIN + statement)
    if envelope.source != signer.name or envelope.destination != destination:
        raise TrustError("the envelope is addressed from or to another party")
    record = sealed[_RECORD]
    records, data = record.get("records"), record.get("data")
    if not isinstance(records, bytes) or hashlib.sha256(records).hexdigest() != envelope.records_sha256:
        raise TrustError("the records are not those that were signed")
    if set(sealed) - {_RECORD, ARRAYS} or (data is not None and ARRAYS in sealed):
        raise TrustError("the message holds more than was signed")
    if (data is not None or ARRAYS in sealed) != bool(envelope.array_sha256):
        raise TrustError("the message lacks the array that was signed, or has one that was not")
    if data is not None and (not isinstance(data, bytes) or hashlib.sha256(data).hexdigest() != envelope.array_sha256):
        raise TrustError("the array is not the one that was signed")
    return envelope


def check_array(content: RecordDict, envelope: Envelope) -> None:
    """Check that the received array is the signed one; raises `TrustError` if not."""
    if hash_of_array(content) != envelope.array_sha256:
        raise TrustError("the array is not the one that was signed")


def _statement(sealed: RecordDict) -> tuple[Envelope, bytes, bytes]:
    record = sealed.get(_RECORD)
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
    named = {key: value for key, value in values.items() if key not in ("place", "not_after")}
    texts = {"run": place["run"], "kind": place["kind"], **named}
    numbers = [place["incarnation"], place["round"], place["attempt"], values["not_after"]]
    if not all(type(text) is str and _FORMS[name].fullmatch(text) for name, text in texts.items()):
        raise TypeError("expected names, nonces and hashes")
    if not all(type(number) is int and 0 <= number < 2**53 for number in numbers):
        raise TypeError("expected whole numbers")
    return Envelope(**{**values, "place": Place(**place)})


def _array_in(content: RecordDict) -> Array | None:
    """The array of a message, if any; raises `DataError` if it has several."""
    arrays = [array for record in content.values() if isinstance(record, ArrayRecord) for array in record.values()]
    if len(arrays) > 1:
        raise DataError("expected at most one array in a message")
    return arrays[0] if arrays else None
