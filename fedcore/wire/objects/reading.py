"""A message's small records, and its arrays chunk by chunk."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flwr.app import ConfigRecord, MetricRecord
from flwr.supercore.inflatable.inflatable_utils import ObjectUnavailableError

from fedcore.wire.objects.objects import ObjectError, ObjectLimits, ObjectParts, Pull, pull_object

_FIRST_WAIT_SECONDS = 0.02
_LONGEST_WAIT_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteArray:
    """An array whose bytes are still on the other side; `chunks` are ids in order, repeated if they occur twice."""

    dtype: str
    shape: tuple[int, ...]
    stype: str
    chunks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteRecords:
    """A message's content: its small records, and its arrays without their bytes."""

    small: Mapping[str, ConfigRecord | MetricRecord]
    arrays: Mapping[str, Mapping[str, RemoteArray]]


class ObjectReader:
    """Reads the small objects of one message.

    Objects are cached, so that `records` can be called again after Flower's ``ObjectUnavailableError``.
    """

    def __init__(self, pull: Pull, limits: ObjectLimits | None = None) -> None:
        self._pull, self._limits = pull, limits or ObjectLimits()
        self._read: dict[str, ObjectParts] = {}

    def records(self, message_id: str) -> RemoteRecords:
        """The content of a message.

        Raises:
            ObjectError: An object is malformed, too large, or gone.
            ObjectUnavailableError: An object has not arrived yet.
        """
        message = self._object(message_id, "Message")
        if len(message.children) != 1:
            raise ObjectError("MALFORMED", f"a message has one content, this one has {len(message.children)}")
        content = self._object(message.children[0], "RecordDict")
        small: dict[str, ConfigRecord | MetricRecord] = {}
        arrays: dict[str, Mapping[str, RemoteArray]] = {}
        for name, object_id in _references(content).items():
            record = self._object(object_id, "ConfigRecord", "MetricRecord", "ArrayRecord")
            if record.kind == "ArrayRecord":
                arrays[name] = {key: _array(self._object(child, "Array")) for key, child in _references(record).items()}
            else:
                small[name] = _small_record(record)
        return RemoteRecords(small=small, arrays=arrays)

    def _object(self, object_id: str, *kinds: str) -> ObjectParts:
        if object_id not in self._read:
            if len(self._read) >= self._limits.small_objects:
                raise ObjectError("TOO_LARGE", f"a message may have {self._limits.small_objects} small objects at most")
            self._read[object_id] = pull_object(object_id, self._pull, self._limits.small_bytes)
        parts = self._read[object_id]
        if parts.kind not in kinds:
            raise ObjectError("MALFORMED", f"expected an object of type {' or '.join(kinds)}, found another")
        return parts


def read_records(message_id: str, pull: Pull, limits: ObjectLimits | None = None) -> RemoteRecords:
    """The content of a message whose objects exist, or arrive while `pull` waits; raises `ObjectError`."""
    return ObjectReader(pull, limits).records(message_id)


def read_chunks(
    array: RemoteArray, pull: Pull, *, max_bytes: int | None = None, limits: ObjectLimits | None = None
) -> Iterator[memoryview]:
    """The bytes of an array, one chunk at a time, each checked against its id.

    Args:
        max_bytes: The array's expected size: a larger one is refused before it is complete.

    Raises:
        ObjectError: A chunk is malformed, too large, or gone.
    """
    largest, left = (limits or ObjectLimits()).chunk_bytes, max_bytes
    for chunk_id in array.chunks:
        if left is not None and left <= 0:
            raise ObjectError("TOO_LARGE", f"the array has more than the {max_bytes} bytes that were expected")
        parts = pull_object(chunk_id, pull, largest)
        if parts.kind != "ArrayChunk" or parts.children:
            raise ObjectError("MALFORMED", "expected a chunk of an array, found another object")
        left = None if left is None else left - len(parts.body)
        if left is not None and left < 0:
            raise ObjectError("TOO_LARGE", f"the array has more than the {max_bytes} bytes that were expected")
        yield parts.body
        del parts
        gc.collect(1)  # the HTTP client leaves each answer in a cycle of references: megabytes a chunk


def patiently(
    pull: Pull,
    *,
    stall_seconds: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Pull:
    """A `pull` that waits for objects in transit: 20 ms, doubling to 1 s, and at most `stall_seconds` in all.

    Flower's own waits at least a second, which is most of a small round. All objects share one budget,
    so that a sender who is slow with each of them costs the same as one who is slow once.
    """
    waited = 0.0

    def patient(object_id: str) -> bytes:
        nonlocal waited
        started, pause = clock(), _FIRST_WAIT_SECONDS
        while True:
            try:
                content = pull(object_id)
            except ObjectUnavailableError:
                if waited + clock() - started + pause > stall_seconds:
                    raise ObjectError("MISSING", f"objects did not come within {stall_seconds:g} seconds") from None
                sleep(pause)
                pause = min(2 * pause, _LONGEST_WAIT_SECONDS)
            else:
                waited += clock() - started if pause > _FIRST_WAIT_SECONDS else 0.0
                return content

    return patient


def _references(parts: ObjectParts) -> dict[str, str]:
    """The names and ids in a RecordDict or an ArrayRecord; every id is a child of it."""
    references = _json(parts.body)
    if not isinstance(references, dict) or not all(isinstance(child, str) for child in references.values()):
        raise ObjectError("MALFORMED", "expected names with object ids")
    if set(references.values()) != set(parts.children):
        raise ObjectError("MALFORMED", "an object names other children in its body than in its head")
    return references


def _array(parts: ObjectParts) -> RemoteArray:
    body = _json(parts.body)
    expected = {"dtype": str, "shape": list, "stype": str, "arraychunk_ids": list}
    if not isinstance(body, dict) or any(not isinstance(body.get(key), kind) for key, kind in expected.items()):
        raise ObjectError("MALFORMED", f"expected an array with {', '.join(expected)}")
    if not all(_is_natural(size) for size in body["shape"]):
        raise ObjectError("MALFORMED", "an array's shape is not made of natural numbers")
    if not all(_is_natural(index) and index < len(parts.children) for index in body["arraychunk_ids"]):
        raise ObjectError("MALFORMED", "an array names a chunk that it does not have")
    return RemoteArray(
        dtype=body["dtype"],
        shape=tuple(body["shape"]),
        stype=body["stype"],
        chunks=tuple(parts.children[index] for index in body["arraychunk_ids"]),
    )


def _small_record(parts: ObjectParts) -> ConfigRecord | MetricRecord:
    """Flower's own decoder, on bytes of checked hash, type and size: protobuf runs no code."""
    kind = ConfigRecord if parts.kind == "ConfigRecord" else MetricRecord
    try:
        return kind.inflate(f"{parts.kind}  {len(parts.body)}\0".encode() + parts.body)
    except Exception:
        raise ObjectError("MALFORMED", f"a {parts.kind} cannot be decoded") from None


def _json(body: memoryview) -> Any:
    try:
        return json.loads(bytes(body))
    except (ValueError, RecursionError):
        raise ObjectError("MALFORMED", "an object's body is not JSON") from None


def _is_natural(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
