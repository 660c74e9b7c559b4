"""One object: pulled, with hash, head and size checked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from flwr.supercore.inflatable.inflatable_utils import ObjectPullError

from fedcore.errors import DataError

Pull: TypeAlias = Callable[[str], bytes]
Push: TypeAlias = Callable[[str, bytes], None]

_MIB = 1 << 20
_ID_LENGTH = 64
_HEX = frozenset("0123456789abcdef")


class ObjectError(DataError):
    """An object of a message is malformed, too large, or never came.

    Attributes:
        code: ``MALFORMED``, ``TOO_LARGE`` or ``MISSING``.
    """

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectLimits:
    """The cost limits of reading one message."""

    small_bytes: int = 4 * _MIB
    small_objects: int = 64
    chunk_bytes: int = 8 * _MIB


@dataclass(frozen=True, slots=True)
class ObjectParts:
    kind: str
    children: tuple[str, ...]
    body: memoryview


def pull_object(object_id: str, pull: Pull, max_bytes: int) -> ObjectParts:
    """One object, its hash, head and size checked; raises `ObjectError`."""
    try:
        content = pull(object_id)
    except ObjectPullError:
        raise ObjectError("MISSING", "an object of the message is gone or was never sent") from None
    if len(content) > max_bytes:
        raise ObjectError("TOO_LARGE", f"an object has {len(content)} bytes, {max_bytes} are allowed")
    if hashlib.sha256(content).hexdigest() != object_id:
        raise ObjectError("MALFORMED", "an object does not have the hash that it is named by")
    return _parts(content)


def _parts(content: bytes) -> ObjectParts:
    """Split ``TYPE CHILD,CHILD LENGTH``, a zero byte, and the body."""
    end = content.find(b"\0")
    head = content[: max(end, 0)].split(b" ")
    body = memoryview(content)[end + 1 :]
    if end < 0 or len(head) != 3 or head[2] != str(len(body)).encode():
        raise ObjectError("MALFORMED", "an object's head is not TYPE CHILDREN LENGTH")
    try:
        kind, children = head[0].decode("ascii"), head[1].decode("ascii")
    except UnicodeDecodeError:
        raise ObjectError("MALFORMED", "an object's head is not ASCII text") from None
    ids = tuple(children.split(",")) if children else ()
    if not all(len(child) == _ID_LENGTH and _HEX.issuperset(child) for child in ids):
        raise ObjectError("MALFORMED", "an object names a child that is not a SHA-256 hash")
    return ObjectParts(kind, ids, body)
