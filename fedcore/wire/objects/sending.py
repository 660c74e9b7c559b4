"""Outgoing messages, two objects in memory at a time."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from flwr.app import Array, ArrayRecord, Message
from flwr.app.message import remove_content_from_message
from flwr.app.message.arraychunk import ArrayChunk
from flwr.common.constant import FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.inflatable.inflatable_object import (
    InflatableObject,
    get_all_nested_objects,
    get_object_tree,
    no_object_id_recompute,
)

from fedcore.storage.mapped_bytes import let_go
from fedcore.wire.objects.objects import Push


def array_over(buffer: memoryview, *, dtype: str, shape: tuple[int, ...], stype: str) -> Array:
    """A Flower array over existing memory: nothing of its size is copied until a chunk is sent.

    Put it into a record with `record_of`: the constructor of ``ArrayRecord`` takes ``bytes`` only.
    """
    array = Array(dtype, shape, stype, b"")
    array.data = buffer.cast("B") if buffer.format != "B" or buffer.ndim != 1 else buffer  # type: ignore[assignment]
    return array


def record_of(arrays: Mapping[str, Array]) -> ArrayRecord:
    record = ArrayRecord()
    for name, array in arrays.items():
        record[name] = array
    return record


class Outgoing:
    """Outgoing messages without their content, with their object trees. Shared objects are sent once."""

    def __init__(self, messages: Iterable[Message]) -> None:
        self._objects: dict[str, InflatableObject] = {}
        self.headers: list[Message] = []
        self.trees: list[ObjectTree] = []
        with no_object_id_recompute():
            for message in messages:
                _name_chunks(message)
                message.metadata.__dict__["_message_id"] = message.object_id
                self.headers.append(remove_content_from_message(message))
                self.trees.append(get_object_tree(message))
                self._objects.update(get_all_nested_objects(message))

    def push(self, wanted: Iterable[str], push: Push, *, window: int = 2) -> None:
        """Send the objects that the other side lacks, children first, at most `window` at a time.

        The message itself goes last: a receiver that finds it finds all of it.
        """
        lacking = set(wanted)
        with no_object_id_recompute():
            push_contents(
                ((key, _deflated(item)) for key, item in self._objects.items() if key in lacking), push, window=window
            )


def _name_chunks(message: Message) -> None:
    """Make Flower name an array's chunks one by one, so that a mapped array is never in memory as a whole."""
    records = message.content.values() if message.has_content() else ()
    for array in (each for record in records if isinstance(record, ArrayRecord) for each in record.values()):
        if "_chunks" in array.__dict__:
            continue
        view, chunks = memoryview(array.data), []
        for start in range(0, len(view), FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE):
            chunk = ArrayChunk(view[start : start + FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE])
            chunks.append((chunk.object_id, chunk))
            let_go(array.data)
        array.__dict__["_chunks"] = chunks  # where Flower's own slicing keeps them


def push_contents(contents: Iterator[tuple[str, bytes]], push: Push, *, window: int = 2) -> None:
    """Push objects with at most `window` of them in memory; the first failure stops the rest and is raised."""
    with ThreadPoolExecutor(max_workers=window, thread_name_prefix="push") as pool:
        running: set[Future[None]] = set()
        while True:
            if len(running) >= window:
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                _raise_first(finished)
            content = next(contents, None)
            if content is None:
                break
            running.add(pool.submit(push, *content))
            del content
            gc.collect(1)  # the HTTP client leaves each request in a cycle of references: megabytes a chunk
        _raise_first(running)


def _deflated(item: InflatableObject) -> bytes:
    """The object's sent form: a copy, so that a mapped array's pages can be released."""
    content = item.deflate()
    if isinstance(item, ArrayChunk):
        let_go(item.data)
    return content


def _raise_first(futures: Iterable[Future[None]]) -> None:
    for future in futures:
        future.result()
