"""Objects of messages: read with suspicion, written two at a time."""

from __future__ import annotations

import hashlib
import json
import threading
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, Metadata, MetricRecord, RecordDict
from flwr.app.message import make_message
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    ObjectUnavailableError,
    inflate_object_from_contents,
)

from fedcore.wire.objects import (
    ObjectError,
    ObjectLimits,
    ObjectReader,
    Outgoing,
    array_over,
    patiently,
    push_contents,
    read_chunks,
    read_records,
    record_of,
)

_MIB = 1 << 20


class Store:
    """Objects by their ids, as either side of a SuperLink has them."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def push(self, object_id: str, content: bytes) -> None:
        self.objects[object_id] = content

    def pull(self, object_id: str) -> bytes:
        if object_id not in self.objects:
            raise ObjectPullError(object_id, "gone")
        return self.objects[object_id]

    def add(self, head: str, body: bytes = b"") -> str:
        content = f"{head} {len(body)}\0".encode() + body
        object_id = hashlib.sha256(content).hexdigest()
        self.objects[object_id] = content
        return object_id

    def add_named(self, kind: str, names: dict[str, str]) -> str:
        return self.add(f"{kind} {','.join(dict.fromkeys(names.values()))}", json.dumps(names).encode())

    def add_message(self, records: dict[str, str]) -> str:
        return self.add(f"Message {self.add_named('RecordDict', records)}")


def _message(content: RecordDict) -> Message:
    metadata = Metadata(1, "", 1, 2, "", "", 1e9, 60.0, MessageType.TRAIN)
    return make_message(metadata=metadata, content=content)


def _content(array: Array) -> RecordDict:
    return RecordDict(
        {
            "config": ConfigRecord({"text": "a", "number": 1, "flags": [True, False], "raw": b"\0"}),
            "metrics": MetricRecord({"loss": 0.5}),
            "arrays": record_of({"parameters": array}),
        }
    )


def _sent(content: RecordDict) -> tuple[Store, str]:
    store, outgoing = Store(), Outgoing([_message(content)])
    ids = {key for tree in outgoing.trees for key in _ids(tree)}
    outgoing.push(ids, store.push)
    return store, outgoing.headers[0].metadata.message_id


def _ids(tree: Any) -> set[str]:
    return {tree.object_id}.union(*(_ids(child) for child in tree.children))


def test_what_is_sent_is_what_flower_would_send() -> None:
    data = np.random.default_rng(0).bytes(11 * _MIB)
    content = _content(array_over(memoryview(data), dtype="uint8", shape=(len(data),), stype="raw"))
    store, message_id = _sent(content)
    theirs = get_all_nested_objects(
        _message(
            RecordDict(
                dict(content) | {"arrays": ArrayRecord({"parameters": Array("uint8", (len(data),), "raw", data)})}
            )
        )
    )
    assert set(store.objects) == set(theirs)
    read = inflate_object_from_contents(message_id, dict(store.objects))
    assert isinstance(read, Message)
    assert read.content["arrays"]["parameters"].data == data  # type: ignore[index,union-attr]


@pytest.mark.parametrize("size", [0, 1, 5 * _MIB, 5 * _MIB + 1, 13 * _MIB])
def test_what_is_read_is_what_was_sent(size: int) -> None:
    data = memoryview(np.random.default_rng(1).bytes(size))
    store, message_id = _sent(_content(array_over(data, dtype="uint8", shape=(size,), stype="raw")))
    records = read_records(message_id, store.pull)
    array = records.arrays["arrays"]["parameters"]
    assert (array.dtype, array.shape, array.stype) == ("uint8", (size,), "raw")
    assert len(array.chunks) == -(-size // (5 * _MIB))
    assert b"".join(read_chunks(array, store.pull, max_bytes=size)) == data
    assert records.small["config"] == ConfigRecord({"text": "a", "number": 1, "flags": [True, False], "raw": b"\0"})
    assert records.small["metrics"] == MetricRecord({"loss": 0.5})


def test_an_array_of_zeros_is_sent_once_and_read_in_full() -> None:
    size = 20 * _MIB
    store, message_id = _sent(_content(array_over(memoryview(bytes(size)), dtype="u1", shape=(size,), stype="raw")))
    assert sum(map(len, store.objects.values())) < 6 * _MIB
    array = read_records(message_id, store.pull).arrays["arrays"]["parameters"]
    assert sum(map(len, read_chunks(array, store.pull))) == size


def test_the_memory_of_a_tensor_is_sent_without_a_copy() -> None:
    model = torch.rand(32 * _MIB)  # 128 MiB
    view = memoryview(model.numpy())
    array = array_over(view, dtype="float32", shape=tuple(model.shape), stype="raw")
    assert array.data.obj is view.obj  # type: ignore[attr-defined]
    sizes: list[int] = []
    tracemalloc.start()
    outgoing = Outgoing([_message(_content(array)), _message(_content(array))])
    outgoing.push(_ids(outgoing.trees[0]), lambda _id, content: sizes.append(len(content)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(sizes) > 128 * _MIB
    assert peak < 30 * _MIB  # two chunks, and the one that Flower puts together


def test_reading_holds_one_chunk() -> None:
    data = memoryview(np.random.default_rng(2).bytes(64 * _MIB))
    store, message_id = _sent(_content(array_over(data, dtype="u1", shape=(len(data),), stype="raw")))
    array = read_records(message_id, store.pull).arrays["arrays"]["parameters"]
    tracemalloc.start()
    digest = hashlib.sha256()
    for chunk in read_chunks(array, lambda key: bytes(bytearray(store.pull(key)))):
        digest.update(chunk)
        del chunk
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert digest.digest() == hashlib.sha256(data).digest()
    assert peak < 22 * _MIB


def test_no_more_than_the_window_is_pushed_at_once() -> None:
    made, done, most = 0, 0, 0
    lock = threading.Lock()

    def contents() -> Any:
        nonlocal made, most
        for number in range(10):
            with lock:
                made += 1
                most = max(most, made - done)
            yield str(number), b""

    def push(_id: str, _content: bytes) -> None:
        nonlocal done
        time.sleep(0.01)
        with lock:
            done += 1

    push_contents(contents(), push, window=2)
    assert (done, most) == (10, 2)


def test_the_first_failure_ends_a_push() -> None:
    pushed: list[str] = []

    def push(object_id: str, _content: bytes) -> None:
        pushed.append(object_id)
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        push_contents(((str(number), b"") for number in range(100)), push)
    assert len(pushed) < 5


def test_waiting_for_an_object_starts_quick_and_ends() -> None:
    now, pauses = [0.0], list[float]()

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        now[0] += seconds

    def pull(_id: str) -> bytes:
        raise ObjectUnavailableError(_id)

    with pytest.raises(ObjectError, match="did not come within 4 seconds") as caught:
        patiently(pull, stall_seconds=4.0, clock=lambda: now[0], sleep=sleep)("x")
    assert caught.value.code == "MISSING"
    assert pauses == [0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0]


def test_reading_goes_on_where_something_was_not_there_yet() -> None:
    store, message_id = _sent(_content(array_over(memoryview(b"abc"), dtype="u1", shape=(3,), stype="raw")))
    absent, pulled = set(store.objects), list[str]()

    def pull(object_id: str) -> bytes:
        pulled.append(object_id)
        if object_id in absent:
            absent.discard(object_id)
            raise ObjectUnavailableError(object_id)
        return store.pull(object_id)

    reader = ObjectReader(pull)
    for _ in range(20):
        try:
            assert reader.records(message_id).small["metrics"] == MetricRecord({"loss": 0.5})
            break
        except ObjectUnavailableError:
            continue
    assert max(map(pulled.count, pulled)) == 2


def _hostile() -> dict[str, tuple[str, Callable[[Store], str]]]:
    flat = {"dtype": "u1", "shape": [3], "stype": "raw", "arraychunk_ids": []}

    def array(store: Store, children: str = "", **changes: Any) -> str:
        item = store.add(f"Array {children}", json.dumps(flat | changes).encode())
        return store.add_message({"arrays": store.add_named("ArrayRecord", {"parameters": item})})

    return {
        "an absent message": ("MISSING", lambda _store: "0" * 64),
        "an absent record": ("MISSING", lambda store: store.add_message({"config": "0" * 64})),
        "no content": ("MALFORMED", lambda store: store.add("Message ")),
        "two contents": ("MALFORMED", lambda store: store.add(f"Message {'0' * 64},{'1' * 64}")),
        "another root": ("MALFORMED", lambda store: store.add_named("RecordDict", {})),
        "no head": ("MALFORMED", lambda store: _raw(store, b"")),
        "no end of the head": ("MALFORMED", lambda store: _raw(store, b"Message  0")),
        "a wrong length": ("MALFORMED", lambda store: _raw(store, b"Message  5\0")),
        "a negative length": ("MALFORMED", lambda store: _raw(store, b"Message  -1\0")),
        "a head that is no text": ("MALFORMED", lambda store: _raw(store, b"\xff\xfe  0\0")),
        "a child that is no hash": ("MALFORMED", lambda store: store.add("Message ../../etc/passwd")),
        "a child in capitals": ("MALFORMED", lambda store: store.add(f"Message {'A' * 64}")),
        "a record of unknown type": ("MALFORMED", lambda store: store.add_message({"x": store.add("Exploit ")})),
        "a message in a message": ("MALFORMED", lambda store: store.add_message({"x": store.add_message({})})),
        "a chunk as a record": ("MALFORMED", lambda store: store.add_message({"x": store.add("ArrayChunk ", b"a")})),
        "protobuf that is none": (
            "MALFORMED",
            lambda store: store.add_message({"x": store.add("ConfigRecord ", b"\xff" * 9)}),
        ),
        "references that are no JSON": (
            "MALFORMED",
            lambda store: store.add(f"Message {store.add('RecordDict ', b'{')}"),
        ),
        "references that are a list": (
            "MALFORMED",
            lambda store: store.add(f"Message {store.add('RecordDict ', b'[]')}"),
        ),
        "deep JSON": ("MALFORMED", lambda store: store.add(f"Message {store.add('RecordDict ', b'[' * 200_000)}")),
        "references to numbers": (
            "MALFORMED",
            lambda store: store.add(f"Message {store.add('RecordDict ', json.dumps({'a': 1}).encode())}"),
        ),
        "other children in head and body": (
            "MALFORMED",
            lambda store: store.add(f"Message {store.add('RecordDict ' + '0' * 64, json.dumps({}).encode())}"),
        ),
        "an array without a shape": ("MALFORMED", lambda store: array(store, shape=None)),
        "an array of negative size": ("MALFORMED", lambda store: array(store, shape=[-1])),
        "an array of true size": ("MALFORMED", lambda store: array(store, shape=[True])),
        "an array of an absent chunk": ("MALFORMED", lambda store: array(store, arraychunk_ids=[0])),
        "an array of a negative chunk": ("MALFORMED", lambda store: array(store, "0" * 64, arraychunk_ids=[-1])),
        "an object of 5 MB": ("TOO_LARGE", lambda store: store.add("Message ", bytes(5_000_000))),
        "seventy records": (
            "TOO_LARGE",
            lambda store: store.add_message({str(number): _numbered(store, number) for number in range(70)}),
        ),
    }


def _numbered(store: Store, number: int) -> str:
    config = ConfigRecord({"number": number})
    content = config.deflate()
    store.objects[config.object_id] = content
    return config.object_id


def _raw(store: Store, content: bytes) -> str:
    object_id = hashlib.sha256(content).hexdigest()
    store.objects[object_id] = content
    return object_id


@pytest.mark.parametrize("name", _hostile())
def test_hostile_objects_are_refused(name: str) -> None:
    code, build = _hostile()[name]
    store = Store()
    with pytest.raises(ObjectError) as caught:
        read_records(build(store), store.pull)
    assert caught.value.code == code


def test_an_object_with_another_hash_is_refused() -> None:
    store, message_id = _sent(_content(array_over(memoryview(b"abc"), dtype="u1", shape=(3,), stype="raw")))
    array = read_records(message_id, store.pull).arrays["arrays"]["parameters"]
    (chunk,) = array.chunks
    store.objects[chunk] = store.objects[chunk].replace(b"abc", b"abd")
    with pytest.raises(ObjectError, match="does not have the hash"):
        list(read_chunks(array, store.pull))
    store.objects[message_id] += b" "
    with pytest.raises(ObjectError, match="does not have the hash"):
        read_records(message_id, store.pull)


def test_a_chunk_beyond_the_limit_is_refused() -> None:
    store, message_id = _sent(_content(array_over(memoryview(bytes(1000)), dtype="u1", shape=(1000,), stype="raw")))
    array = read_records(message_id, store.pull).arrays["arrays"]["parameters"]
    with pytest.raises(ObjectError) as caught:
        list(read_chunks(array, store.pull, limits=ObjectLimits(chunk_bytes=500)))
    assert caught.value.code == "TOO_LARGE"


def test_a_chunk_that_is_another_object_is_refused() -> None:
    store, message_id = _sent(_content(array_over(memoryview(b"abc"), dtype="u1", shape=(3,), stype="raw")))
    array = read_records(message_id, store.pull).arrays["arrays"]["parameters"]
    with pytest.raises(ObjectError, match="expected a chunk"):
        list(read_chunks(type(array)(dtype="u1", shape=(3,), stype="raw", chunks=(message_id,)), store.pull))
