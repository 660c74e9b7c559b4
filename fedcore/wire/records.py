"""The records of every message: a header of plain values, and one flat array.

Content from the other side is checked before use; nothing is executed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from fedcore.errors import DataError
from fedcore.storage.mapped_bytes import let_go, scratch_bytes
from fedcore.wire.objects import array_over, record_of

if TYPE_CHECKING:
    from torch import Tensor

    from fedcore.segments import Form

ARRAYS, PARAMETERS, HEADER = "arrays", "parameters", "fedcore"
_RAW = "fedcore.raw"
_DTYPES = {"float32": "<f4", "float64": "<f8", "uint8": "u1"}


def array_and_header(header: Mapping[str, Any], values: Tensor) -> RecordDict:
    """A header and the one array, which shares the memory of the values."""
    from fedcore.storage.large_vectors import memory_of

    array = array_over(
        memory_of(values), dtype=str(values.dtype).removeprefix("torch."), shape=tuple(values.shape), stype=_RAW
    )
    return RecordDict({ARRAYS: record_of({PARAMETERS: array}), HEADER: ConfigRecord(dict(header))})


def to_plain(content: RecordDict) -> dict[str, Any]:
    """Records as JSON values; for an array its type and shape, since its bytes travel apart.

    Raises:
        DataError: A record's kind or value belongs to no message of fedcore.
    """
    plain: dict[str, Any] = {}
    for name, record in content.items():
        if isinstance(record, ArrayRecord):
            plain[name] = ["arrays", {key: [each.dtype, list(each.shape), each.stype] for key, each in record.items()}]
        elif isinstance(record, ConfigRecord | MetricRecord) and not any(isinstance(v, bytes) for v in record.values()):
            plain[name] = ["metrics" if isinstance(record, MetricRecord) else "config", dict(record)]
        else:
            raise DataError(f"a record {name[:40]!r} of this kind is not expected in a message")
    return plain


def from_plain(plain: Mapping[str, Any]) -> RecordDict:
    """Read what `to_plain` gave, arrays without bytes; raises `DataError` for anything else."""
    try:
        return RecordDict({name: _KINDS[kind](values) for name, (kind, values) in plain.items()})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError("the message's records are malformed") from error


def _empty_arrays(values: Mapping[str, Any]) -> ArrayRecord:
    arrays = {}
    for name, (dtype, shape, stype) in values.items():
        if not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError("a shape is made of natural numbers")
        arrays[name] = Array(dtype, tuple(shape), stype, b"")
    return record_of(arrays)


_KINDS: dict[str, Callable[[Any], ArrayRecord | ConfigRecord | MetricRecord]] = {
    "arrays": _empty_arrays,
    "config": ConfigRecord,
    "metrics": MetricRecord,
}


def header_of(content: RecordDict) -> Mapping[str, Any]:
    """Return the header; raises `DataError` without one."""
    header = content.get(HEADER)
    if not isinstance(header, ConfigRecord):
        raise DataError(f"expected a record {HEADER!r} in the message")
    return header


def one_array(content: RecordDict) -> Array:
    """The one array of a message, as declared.

    Raises:
        DataError: There is not exactly one, or it is not a flat array of float32, float64 or bytes.
    """
    record = content.get(ARRAYS)
    if not isinstance(record, ArrayRecord) or list(record) != [PARAMETERS]:
        raise DataError("expected exactly one array, named 'parameters'")
    array = record[PARAMETERS]
    if array.stype != _RAW or array.dtype not in _DTYPES or len(array.shape) != 1:
        raise DataError("expected a flat array of float32, float64 or bytes, found another number type or shape")
    return array


def check_declared_array(content: RecordDict, form: Form) -> Array:
    """The one array of a message, its declared type and size checked against the form.

    Raises:
        DataError: There is not exactly one, or it is declared differently.
    """
    array = one_array(content)
    if tuple(array.shape) != (form.size,) or array.dtype != form.dtype:
        raise DataError(f"expected {form.dtype} of shape ({form.size},), found {array.dtype} of another type or shape")
    return array


def array_bytes(array: Array) -> int:
    return math.prod(array.shape) * np.dtype(_DTYPES[array.dtype]).itemsize


def receive_array(array: Array, fetch: Callable[..., Iterable[memoryview]]) -> None:
    """Fill the data of a declared array from its pieces, into memory of exactly its size.

    Args:
        fetch: Called with ``max_bytes``; yields the pieces.

    Raises:
        DataError: The pieces are longer or shorter than the shape.
    """
    memory, filled = scratch_bytes(array_bytes(array)), 0
    for chunk in fetch(max_bytes=len(memory)):
        if filled + len(chunk) > len(memory):
            raise DataError("the array is longer than its shape says")
        memory[filled : filled + len(chunk)] = chunk
        filled += len(chunk)
        let_go(memory)
    if filled != len(memory):
        raise DataError("the array is shorter than its shape says")
    array.data = memory  # type: ignore[assignment]


def segments_of(content: RecordDict, form: Form) -> dict[str, Tensor]:
    """The segments of the one array, sharing its memory."""
    import torch  # a process that only relays needs none

    from fedcore.storage.large_vectors import over

    array = check_declared_array(content, form)
    if len(array.data) != array_bytes(array):
        raise DataError("the array is not as long as its shape says")
    return form.unpacked(over(array.data, getattr(torch, array.dtype)))


def integer_in(header: Mapping[str, Any], key: str) -> int:
    """A whole number in a header; raises `DataError` without one."""
    value = header.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise DataError(f"expected a whole number {key!r} in the message")
    return value


def json_in(header: Mapping[str, Any], key: str, kind: type[Any]) -> Any:
    """JSON of the given kind in a header; raises `DataError` without it."""
    try:
        value = json.loads(header[key])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise DataError(f"expected JSON under {key!r} in the message") from error
    if not isinstance(value, kind):
        raise DataError(f"expected a JSON {kind.__name__} under {key!r} in the message")
    return value
