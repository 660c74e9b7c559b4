"""Flower's objects, read and written one chunk at a time.

A message travels as a tree of objects, each named by the SHA-256 of its bytes: ``Message``, its ``RecordDict``, the
records, and below an ``ArrayRecord`` the ``Array`` with its chunks of 5 MiB. Flower's own functions hold a whole
message at once, and on the way out all of its chunks a second time. These hold one or two chunks, whatever the
model's size, and take both sides' calls as functions:

    pull(object_id) -> bytes               raises Flower's ObjectUnavailableError or ObjectPullError
    push(object_id, content) -> None

Whatever is read is hostile: hashes, types, sizes and counts are checked before anything is decoded.
"""

from fedcore.wire.objects.objects import ObjectError, ObjectLimits, Pull, Push
from fedcore.wire.objects.reading import (
    ObjectReader,
    RemoteArray,
    RemoteRecords,
    patiently,
    read_chunks,
    read_records,
)
from fedcore.wire.objects.sending import Outgoing, array_over, push_contents, record_of

__all__ = [
    "ObjectError",
    "ObjectLimits",
    "ObjectReader",
    "Outgoing",
    "Pull",
    "Push",
    "RemoteArray",
    "RemoteRecords",
    "array_over",
    "patiently",
    "push_contents",
    "read_chunks",
    "read_records",
    "record_of",
]
