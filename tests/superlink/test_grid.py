"""Messages there and back: streamed, checked, and deleted afterwards."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents, pull_objects
from flwr.supernode.fleet_http_connection import http_request_response

from fedcore.errors import DeploymentError
from fedcore.wire.objects import ObjectError, Outgoing
from fedcore_server.flower.superlink.arrival import Arrival
from fedcore_server.flower.superlink.grid import StreamingGrid
from tests.superlink.builders import (
    FleetNode,
    NodeKey,
    Site,
    answering,
    echo,
    random_bytes,
    request_to,
    site_in,
)

pytestmark = pytest.mark.xdist_group("servers")

_MIB = 1 << 20


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site_in(tmp_path_factory.mktemp("site")) as site:
        yield site


def test_a_model_of_20_megabytes_comes_back_from_two_nodes_as_it_was(site: Site) -> None:
    model = random_bytes(20_000_000)
    with answering(site, 2) as nodes, site.grid() as grid:
        sent = grid.push_messages([request_to(node.fleet.node.node_id, model, text="hello") for node in nodes])
        arrivals = []
        for arrival in grid.arrivals(sent, timeout_seconds=60):
            assert arrival.error is None
            assert arrival.small["config"]["text"] == "hello"
            assert arrival.arrays["arrays"]["parameters"].shape == (20_000_000,)
            assert _digest(arrival) == hashlib.sha256(model).hexdigest()
            arrival.confirm()
            arrivals.append(arrival.reply_to_message_id)
        assert sorted(arrivals) == sorted(sent)


def test_flowers_own_connection_gets_through_the_gateway(site: Site) -> None:
    key, model = NodeKey(), random_bytes(6 * _MIB)
    site.control.register(key.public_bytes, "stock")
    pair = (key.private, key.private.public_key())
    with (
        site.grid() as grid,
        http_request_response(site.public, False, site.ca.read_bytes(), pair, max_retries=0) as connection,
    ):
        node_id, receive, send, _get_run, _get_fab, pull, push, confirm = connection
        (sent,) = grid.push_messages([request_to(node_id, model)])
        received = receive()
        assert received is not None
        header, run_id = received[0], received[0].metadata.run_id
        objects = pull_objects([tree.object_id for tree in iterate_object_tree(received[1])], partial(pull, run_id))
        confirm(run_id, header.metadata.message_id)
        message = inflate_object_from_contents(received[1].object_id, objects)
        assert isinstance(message, Message)
        outgoing = Outgoing([Message(message.content, reply_to=header)])
        wanted, session = send(outgoing.headers[0], outgoing.trees[0], 0.0)
        outgoing.push(wanted, partial(push, run_id, session))
        (arrival,) = grid.arrivals([sent], timeout_seconds=20)
        assert b"".join(arrival.chunks(arrival.arrays["arrays"]["parameters"])) == model
        arrival.confirm()


def test_nothing_piles_up_in_the_database(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("growth")
    sizes = []
    with site_in(folder) as site, answering(site, 2) as nodes, site.grid() as grid:
        for number in range(5):
            model = random_bytes(8_000_000, seed=number)
            sent = grid.push_messages([request_to(node.fleet.node.node_id, model) for node in nodes])
            for arrival in grid.arrivals(sent, timeout_seconds=60):
                assert sum(map(len, arrival.chunks(arrival.arrays["arrays"]["parameters"]))) == len(model)
                arrival.confirm()
            with sqlite3.connect(folder / "flower.db") as database:
                tables = ("objects", "message_ins", "message_res", "object_push_sessions")
                counts = {table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}  # noqa: S608
            database.close()
            assert counts == dict.fromkeys(tables, 0)
            sizes.append(sum(path.stat().st_size for path in folder.glob("flower.db*")))
    assert sizes[-1] <= sizes[1] * 1.3


def test_a_slow_reply_holds_nobody_up_and_fails_alone(site: Site) -> None:
    slow, quick = site.node("slow"), site.node("quick")
    with site.grid() as grid:
        ids = {node.node.node_id: node for node in (slow, quick)}
        sent = grid.push_messages([request_to(node_id) for node_id in ids])
        for node in (slow, quick):
            header = _receive(node)
            config, data = node.read(header)
            node.send(Message(echo(config, data), reply_to=header), objects=node is quick)
        began = time.monotonic()
        arrivals = list(grid.arrivals(sent, timeout_seconds=2.0))
        assert [arrival.reply_to_message_id for arrival in arrivals] == [sent[1]]
        assert time.monotonic() - began < 6.0
        arrivals[0].confirm()
        assert _objects(site) == 0
    slow.close()
    quick.close()


def test_a_reply_after_the_deadline_is_thrown_away(site: Site) -> None:
    node = site.node("late")
    with site.grid() as grid:
        (sent,) = grid.push_messages([request_to(node.node.node_id)])
        header = _receive(node)
        config, data = node.read(header)
        assert list(grid.arrivals([sent], timeout_seconds=0.1)) == []
        node.send(Message(echo(config, data), reply_to=header))
        (second,) = grid.push_messages([request_to(node.node.node_id)])
        header = _receive(node)
        node.send(Message(echo(*node.read(header)), reply_to=header))
        arrivals = list(grid.arrivals([second], timeout_seconds=20))
        assert [arrival.reply_to_message_id for arrival in arrivals] == [second]
        arrivals[0].confirm()
        assert _objects(site) == 0
    node.close()


def test_a_request_that_was_withdrawn_does_not_reach_the_node(site: Site) -> None:
    node = site.node("withdrawn")
    with site.grid() as grid:
        grid.withdraw(grid.push_messages([request_to(node.node.node_id)]))
        assert node.receive() is None
        assert _objects(site) == 0
    node.close()


def test_an_error_arrives_as_a_number_and_without_its_text(site: Site) -> None:
    node = site.node("failing")
    with site.grid() as grid:
        (sent,) = grid.push_messages([request_to(node.node.node_id)])
        header = _receive(node)
        node.send(Message(Error(2, "KeyError: patient 4711"), reply_to=header))
        (arrival,) = grid.arrivals([sent], timeout_seconds=20)
        assert arrival.error is not None
        assert (arrival.error.code, arrival.error.number) == ("ERROR", 2)
        assert "KeyError" not in repr(arrival)
        arrival.confirm()
        assert _objects(site) == 0
    node.close()


def test_a_reply_that_is_not_what_it_should_be_is_an_error_of_that_reply(site: Site) -> None:
    node = site.node("odd")
    with site.grid() as grid:
        (sent,) = grid.push_messages([request_to(node.node.node_id)])
        header = _receive(node)
        content = RecordDict({f"record-{number}": ConfigRecord({"number": number}) for number in range(70)})
        node.send(Message(content, reply_to=header))
        (arrival,) = grid.arrivals([sent], timeout_seconds=20)
        assert arrival.error is not None
        assert arrival.error.code == "TOO_LARGE"
        arrival.confirm()
    node.close()


def test_an_array_larger_than_expected_is_refused_without_being_pulled(site: Site) -> None:
    with answering(site, 1) as (node,), site.grid() as grid:
        sent = grid.push_messages([request_to(node.fleet.node.node_id, random_bytes(12 * _MIB))])
        (arrival,) = grid.arrivals(sent, timeout_seconds=30)
        array = arrival.arrays["arrays"]["parameters"]
        with pytest.raises(ObjectError, match="more than the 6291456 bytes"):
            list(arrival.chunks(array, max_bytes=6 * _MIB))
        assert sum(map(len, arrival.chunks(array, max_bytes=12 * _MIB))) == 12 * _MIB
        arrival.confirm()


def test_a_message_to_a_stranger_gets_no_id(site: Site) -> None:
    with site.grid() as grid:
        assert grid.push_messages([request_to(12345)]) == [""]
        assert grid.push_messages([]) == []
        assert list(grid.arrivals([""], timeout_seconds=5)) == []


def test_the_driver_sees_which_nodes_are_online(site: Site) -> None:
    node = site.node("online")
    with site.grid() as grid:
        assert node.node.node_id in set(grid.get_node_ids())
        node.close()
        assert node.node.node_id not in set(grid.get_node_ids())


def test_a_superlink_that_is_gone_is_told_as_such(tmp_path_factory: pytest.TempPathFactory) -> None:
    with site_in(tmp_path_factory.mktemp("gone")) as site, site.grid() as grid:
        grid._retry_invoker.max_time = 0.5
        site.superlink.stop()
        with pytest.raises(DeploymentError, match="does not answer"):
            grid.push_messages([request_to(1)])


def test_a_round_of_two_nodes_takes_less_than_a_second_and_a_half(site: Site) -> None:
    with answering(site, 2) as nodes, site.grid() as grid:
        times = [_round(grid, [node.fleet.node.node_id for node in nodes]) for _ in range(7)]
    assert sorted(times)[3] < 1.5, times


def _round(grid: StreamingGrid, nodes: list[int]) -> float:
    began = time.monotonic()
    sent = grid.push_messages([request_to(node) for node in nodes])
    for arrival in grid.arrivals(sent, timeout_seconds=30):
        arrival.confirm()
    return time.monotonic() - began


def _receive(node: FleetNode) -> Message:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        header = node.receive()
        if header is not None:
            return header
        threading.Event().wait(0.02)
    raise AssertionError("no message within 20 seconds")


def _digest(arrival: Arrival) -> str:
    digest = hashlib.sha256()
    for chunk in arrival.chunks(arrival.arrays["arrays"]["parameters"], max_bytes=20_000_000):
        digest.update(chunk)
    return digest.hexdigest()


def _objects(site: Site) -> int:
    with sqlite3.connect(site.superlink.settings.database) as database:
        count = database.execute("SELECT count(*) FROM objects").fetchone()[0]
    database.close()
    return int(count)
