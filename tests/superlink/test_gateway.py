"""The gateway: what the network can reach, and what it cannot."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any

import httpx
import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.message_pb2 import Message as MessageProto
from flwr.proto.message_pb2 import Metadata, ObjectTree
from flwr.proto.node_pb2 import Node
from flwr.supercore.constant import FLEET_HTTP_SIGNATURE_HEADER
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from fedcore_server.flower.superlink.gateway import OPEN_PATHS, Gateway, is_own_reply
from fedcore_server.flower.superlink.member_key import header_of_key
from fedcore_server.flower.superlink.rate_limit import RateLimit, network_of
from tests.superlink.builders import NodeKey, Site, message_with, metadata_for, request_to, site_in

pytestmark = pytest.mark.xdist_group("servers")

_BINARY = {"content-type": "application/protobuf"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site_in(tmp_path_factory.mktemp("site"), refusals_per_second=10_000.0, refusal_burst=10_000) as site:
        yield site


@pytest.mark.parametrize(
    "path",
    [
        "/v1/control/start-run",
        "/v1/control/register-node",
        "/v1/control/list-nodes",
        "/v1/runtime/acquire-task",
        "/v1/runtime/push-messages",
        "/v1/fleet/register-node",
        "/v1/fleet/unregister-node",
        "/v1/fleet/get-fab",
        "/v1/fleet/pull-messages/",
        "/v1/fleet/../control/list-nodes",
        "/v1/fleet/pull-messages%2f..%2f..%2fcontrol%2flist-nodes",
        "//v1/fleet/pull-messages",
        "/v1/responses",
        "/docs",
        "/openapi.json",
        "/health",
        "/",
    ],
)
def test_the_public_port_shows_nothing_but_what_a_node_needs(site: Site, path: str) -> None:
    with site.http() as client:
        posted = client.post(site.url + path, content=b"", headers=_BINARY)
        assert (posted.status_code, posted.content) == (404, b"")
        assert client.get(site.url + path).status_code == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "HEAD"])
def test_open_paths_take_post_only(site: Site, method: str) -> None:
    with site.http() as client:
        assert client.request(method, f"{site.url}/v1/fleet/pull-messages").status_code == 404


def test_open_paths_reach_flower_which_wants_a_signature(site: Site) -> None:
    with site.http() as client:
        for path in sorted(OPEN_PATHS - {"/v1/fleet/push-messages"}):
            assert client.post(site.url + path, content=b"", headers=_BINARY).status_code == 401, path


def test_a_huge_body_is_refused_before_it_is_read(site: Site) -> None:
    with _tls(site) as connection:
        connection.sendall(_head(site, f"Content-Length: {192 << 20}"))
        assert _status(connection) == 413


def test_a_body_without_a_length_is_refused(site: Site) -> None:
    for line in ("Transfer-Encoding: chunked", "X-Nothing: here", "Content-Length: 5\r\nTransfer-Encoding: chunked"):
        with _tls(site) as connection:
            connection.sendall(_head(site, line) + b"5\r\nhello\r\n0\r\n\r\n")
            assert _status(connection) in (400, 411)


def test_tls_below_1_2_is_refused(site: Site) -> None:
    context = ssl.create_default_context(cafile=str(site.ca))
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    plain = socket.create_connection(("127.0.0.1", site.superlink.public_port), timeout=10)
    with plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain, server_hostname="127.0.0.1")


def test_a_node_cannot_push_orders_to_another_node(site: Site) -> None:
    attacker, victim = site.node("attacker"), site.node("victim")
    with site.grid() as grid:
        order = message_with(metadata_for(grid, dst_node_id=victim.node.node_id), _text("do as I say"))
        with pytest.raises(httpx.HTTPStatusError, match="403"):
            attacker.send(order)
        assert victim.receive() is None
    attacker.close()
    victim.close()


def test_a_node_cannot_answer_in_the_name_of_another_node(site: Site) -> None:
    attacker, victim = site.node("attacker-2"), site.node("victim-2")
    with site.grid() as grid:
        (asked,) = grid.push_messages([request_to(victim.node.node_id)])
        header = victim.receive()
        assert header is not None
        forged = Message(_text("forged"), reply_to=header)
        with pytest.raises(httpx.HTTPStatusError, match="403"):
            attacker.send(forged)
        victim.read(header)
        victim.send(Message(_text("genuine"), reply_to=header))
        (arrival,) = grid.arrivals([asked], timeout_seconds=10)
        assert arrival.small["config"]["text"] == "genuine"
    attacker.close()
    victim.close()


def test_who_is_refused_again_and_again_is_not_heard_and_members_at_the_address_always_are(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with (
        site_in(tmp_path_factory.mktemp("flood"), refusals_per_second=1e-6, refusal_burst=5) as site,
        httpx.Client(verify=ssl.create_default_context(cafile=str(site.ca))) as client,
    ):
        node = site.node()
        for _ in range(20):
            assert node.receive() is None
        node.close()
        codes = [client.post(f"{site.url}/v1/fleet/pull-messages", headers=_BINARY).status_code for _ in range(8)]
        assert codes == [401] * 5 + [429] * 3


@pytest.mark.parametrize(("status", "then"), [(404, 429), (412, 429), (200, 200), (500, 500), (503, 503)])
def test_only_what_the_peer_did_wrong_counts(status: int, then: int) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status})

    gateway = Gateway(app, refusals_per_second=0.0, refusal_burst=1)
    assert [_called(gateway), _called(gateway)] == [status, then]


MEMBER, OTHER = NodeKey(), NodeKey()


def test_a_stranger_is_refused_before_its_body_is_read_and_shuts_no_member_out_at_its_address() -> None:
    gateway = Gateway(_accepts, refusals_per_second=0.0, refusal_burst=3)
    gateway.members = _admitted(MEMBER)
    assert _called(gateway, unread=True) == 401
    assert _called(gateway, key=OTHER, unread=True) == 401
    assert _called(gateway, path="/") == 404
    assert _called(gateway, key=OTHER) == 429
    assert _called(gateway, key=MEMBER) == 200


@pytest.mark.parametrize(
    "forged",
    [
        {b"flwr-signature": b""},
        {b"flwr-signature": b"no base64"},
        {b"flwr-timestamp": b"2026-01-01T00:00:00+00:00"},
        {b"flwr-timestamp": b"yesterday"},
    ],
)
def test_a_members_key_without_the_proof_of_it_is_a_strangers(forged: dict[bytes, bytes]) -> None:
    gateway = Gateway(_accepts, refusals_per_second=0.0, refusal_burst=2)
    gateway.members = _admitted(MEMBER)
    assert _called(gateway, key=MEMBER, forged=forged, unread=True) == 401
    signature_of_another = dict(_proof(OTHER))[SIGNATURE]
    assert _called(gateway, key=MEMBER, forged={SIGNATURE: signature_of_another}, unread=True) == 401
    assert _called(gateway, key=MEMBER, forged=forged) == 429
    assert _called(gateway, key=MEMBER) == 200


def test_one_member_may_ask_so_often_and_hold_so_much_and_no_other_notices() -> None:
    gateway = Gateway(_accepts, waiting_bytes=1600, clock=lambda: 0.0)
    gateway.members = _admitted(MEMBER, OTHER)
    assert _called(gateway, key=MEMBER, body=b"x" * 101) == 429
    assert _called(gateway, key=MEMBER, body=b"x" * 100) == 200
    assert gateway._waiting.total() == 0
    assert [_called(gateway, key=MEMBER) for _ in range(600)] == [200] * 598 + [429] * 2
    assert _called(gateway, key=OTHER) == 200


def test_who_hangs_up_in_the_middle_of_a_body_is_counted() -> None:
    gateway = Gateway(_accepts, refusals_per_second=0.0, refusal_burst=1)
    assert _called(gateway, gone=True) == 0
    assert _called(gateway) == 429


SIGNATURE = FLEET_HTTP_SIGNATURE_HEADER.encode()


def _admitted(*keys: NodeKey) -> frozenset[bytes]:
    return frozenset(header_of_key(key.public_bytes) for key in keys)


def _proof(key: NodeKey) -> list[tuple[bytes, bytes]]:
    """The headers that Flower's own node puts on a request."""
    request = httpx.Request("POST", "https://localhost")
    interceptor = NodeAuthHttpInterceptor(key.private, key.private.public_key())
    interceptor.intercept(SimpleNamespace(request=request), lambda context: None)  # type: ignore[arg-type, return-value]
    return [(name.lower(), value) for name, value in request.headers.raw if name.lower().startswith(b"flwr")]


def _called(
    gateway: Gateway,
    *,
    key: NodeKey | None = None,
    forged: Mapping[bytes, bytes] = MappingProxyType({}),
    path: str = "/v1/fleet/pull-messages",
    body: bytes = b"",
    unread: bool = False,
    gone: bool = False,
) -> int:
    """The status of one call; 0 where there is no answer."""
    sent: list[int] = []
    proof = [(name, forged.get(name, value)) for name, value in _proof(key)] if key else []
    headers = [(b"content-length", str(len(body)).encode()), *proof]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "client": ("192.0.2.1", 1)}

    async def receive() -> Any:
        assert not unread, "the body was read"
        return {"type": "http.disconnect"} if gone else {"type": "http.request", "body": body, "more_body": False}

    async def send(event: Any) -> None:
        sent.append(event.get("status", 0))

    asyncio.run(gateway(scope, receive, send))
    return sent[0] if sent else 0


def _push(**changes: Any) -> PushMessagesRequest:
    fields: dict[str, Any] = {"source": 7, "node": 7, "reply_to": "a", "message_id": "m", "tree": "m", "count": 1}
    fields |= changes
    metadata = Metadata(
        src_node_id=fields["source"], reply_to_message_id=fields["reply_to"], message_id=fields["message_id"]
    )
    return PushMessagesRequest(
        node=Node(node_id=fields["node"]),
        messages_list=[MessageProto(metadata=metadata)] * fields["count"],
        message_object_trees=[ObjectTree(object_id=fields["tree"])] * fields["count"],
    )


def test_only_one_reply_in_ones_own_name_may_be_pushed() -> None:
    assert is_own_reply(_push().SerializeToString())
    for changes in ({"source": 1}, {"source": 8}, {"reply_to": ""}, {"tree": "x"}, {"count": 0}, {"count": 2}):
        assert not is_own_reply(_push(**changes).SerializeToString()), changes
    assert not is_own_reply(_push(source=0, node=0).SerializeToString())
    assert not is_own_reply(b"\xff\xff\xff")
    assert not is_own_reply(b"")


def _call(gateway: Gateway, events: list[dict[str, Any]], *, length: int | None, peer: str = "192.0.2.1") -> int:
    """The status that a request gets; 0 when the connection was dropped without an answer."""
    sent: list[Any] = []
    headers = [] if length is None else [(b"content-length", str(length).encode())]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/fleet/pull-messages",
        "query_string": b"",
        "headers": headers,
        "client": (peer, 1),
    }

    async def receive() -> Any:
        if not events:
            await asyncio.sleep(60)
        return events.pop(0)

    async def send(event: Any) -> None:
        sent.append(event)

    asyncio.run(gateway(scope, receive, send))
    return int(sent[0]["status"]) if sent else 0


async def _accepts(_scope: Any, receive: Any, send: Any) -> None:
    assert (await receive())["more_body"] is False
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def _part(size: int, *, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": b"x" * size, "more_body": more}


def test_a_body_longer_than_it_said_is_cut_off() -> None:
    gateway = Gateway(_accepts, max_body_bytes=100)
    assert _call(gateway, [_part(60, more=True), _part(40, more=False)], length=100) == 200
    assert _call(gateway, [_part(60, more=True), _part(41, more=False)], length=100) == 413


def test_a_body_that_does_not_come_is_given_up() -> None:
    assert _call(Gateway(_accepts, body_seconds=0.05), [_part(5, more=True)], length=10) == 408


def test_bodies_under_way_share_a_bounded_memory() -> None:
    gateway = Gateway(_accepts, waiting_bytes=160)
    gateway._waiting["others"] = 151
    assert _call(gateway, [_part(10, more=False)], length=10) == 503
    gateway._waiting["others"] = 150
    assert _call(gateway, [_part(11, more=False)], length=11) == 429  # a sixteenth for each
    assert _call(gateway, [_part(10, more=False)], length=10) == 200
    assert _call(gateway, [{"type": "http.disconnect"}], length=10) == 0
    assert _call(gateway, [_part(10, more=False)], length=10) == 200


def test_a_websocket_is_closed_and_the_lifespan_passes() -> None:
    seen: list[str] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope["type"])

    sent: list[Any] = []

    async def send(event: Any) -> None:
        sent.append(event)

    gateway = Gateway(app)
    asyncio.run(gateway({"type": "websocket"}, None, send))  # type: ignore[arg-type]
    asyncio.run(gateway({"type": "lifespan"}, None, send))  # type: ignore[arg-type]
    assert (sent, seen) == ([{"type": "websocket.close", "code": 1008}], ["lifespan"])


def test_each_peer_has_its_own_allowance_which_refills() -> None:
    now = [0.0]
    limit = RateLimit(2.0, 2, clock=lambda: now[0])
    assert [_refused(limit, peer) for peer in "aaab"] == [True, True, False, True]
    now[0] = 0.5
    assert [_refused(limit, "a"), _refused(limit, "a")] == [True, False]


def test_ipv6_peers_count_by_their_network() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::2") == "2001:db8::/64"
    assert network_of("2001:db8:0:1::1") == "2001:db8:0:1::/64"
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1") == "192.0.2.1"


def test_the_table_of_peers_is_bounded() -> None:
    limit = RateLimit(1.0, 1)
    for number in range(10_000):
        limit.count(f"peer {number}")
    assert len(limit) == 4096


def _refused(limit: RateLimit, peer: str) -> bool:
    """Whether it was heard, before it was refused."""
    heard = limit.allows(peer)
    limit.count(peer)
    return heard


def _text(text: str) -> RecordDict:
    return RecordDict({"config": ConfigRecord({"text": text})})


def _tls(site: Site) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", site.superlink.public_port), timeout=10)
    return ssl.create_default_context(cafile=str(site.ca)).wrap_socket(plain, server_hostname="127.0.0.1")


def _head(site: Site, line: str) -> bytes:
    return (
        f"POST /v1/fleet/push-object HTTP/1.1\r\nHost: {site.public}\r\nContent-Type: application/protobuf\r\n"
        f"{line}\r\n\r\n"
    ).encode()


def _status(connection: ssl.SSLSocket) -> int:
    end = time.monotonic() + 10
    answer = b""
    while b"\r\n" not in answer and time.monotonic() < end:
        answer += connection.recv(4096)
    return int(answer.split()[1])
