"""The only public entrance to the SuperLink.

Flower serves its Control and Runtime APIs, which know no accounts, on the same port as the Fleet API. The gateway
forwards only the Fleet calls that a registered node needs. It reads no body without the proof of a member's key, limits
what one member may send and how often one address is refused, and binds a node to its own name, which Flower does not.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Callable

from fedcore_server.flower.superlink.asgi import Application, Event, Receive, Scope, Send, header, refuse
from fedcore_server.flower.superlink.member_key import member_key
from fedcore_server.flower.superlink.rate_limit import RateLimit, network_of

_MIB = 1 << 20
_FLEET = "/v1/fleet/"
_PUSH_MESSAGES = f"{_FLEET}push-messages"
_LONGEST_TREE = 65_536
_MEMBER_REQUESTS_PER_SECOND, _MEMBER_BURST = 60.0, 600
_MOST_SHARES = 16

# Not register-node and unregister-node: keys come from the roster only. Not get-fab: no code travels.
OPEN_PATHS = frozenset(
    _FLEET + call
    for call in (
        "activate-node",
        "deactivate-node",
        "send-node-heartbeat",
        "pull-messages",
        "push-messages",
        "get-run",
        "push-object",
        "pull-object",
        "confirm-message-received",
    )
)


class Gateway:
    """Pure ASGI middleware around Flower's application.

    Args:
        app: Flower's application; it sees each request only when it is complete and within the limits.
        max_body_bytes: The largest body. A model travels in objects of 5 MiB.
        refusals_per_second: Average refusals allowed per peer address, with `refusal_burst` at once.
        body_seconds: How long a body may take to arrive.
        waiting_bytes: Memory for all bodies together; one peer may use a sixteenth of it.

    Attributes:
        received_bytes: Of all bodies forwarded so far; `sent_bytes` of all answers.
        members: Flower's keys of all members, as `header_of_key` gives them; ``None`` before they are known.
    """

    def __init__(
        self,
        app: Application,
        *,
        max_body_bytes: int = 8 * _MIB,
        refusals_per_second: float = 20.0,
        refusal_burst: int = 1000,
        body_seconds: float = 180.0,
        clock: Callable[[], float] = time.monotonic,
        waiting_bytes: int = 512 * _MIB,
    ) -> None:
        self._app, self._max_body_bytes = app, max_body_bytes
        self._refusals = RateLimit(refusals_per_second, refusal_burst, clock=clock)
        self._body_seconds = body_seconds
        self._requests = RateLimit(_MEMBER_REQUESTS_PER_SECOND, _MEMBER_BURST, clock=clock)
        self._waiting, self._waiting_limit = Counter[str](), waiting_bytes
        self.received_bytes = self.sent_bytes = 0
        self.members: frozenset[bytes] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            peer, member = self._peer(scope)
            send = self._judging(peer, send)
            if status := self._refusal(scope, peer, member):
                await refuse(send, status)
            else:
                await self._admit(scope, receive, send, peer)

    def _peer(self, scope: Scope) -> tuple[str, bool | None]:
        """Whom a request is counted against, a member or else an address; and whether it is a member."""
        address = network_of(scope["client"][0] if scope.get("client") else "")
        if self.members is None:
            return address, None
        key = member_key(scope, self.members)
        return (address, False) if key is None else (hashlib.sha256(key).hexdigest(), True)

    def _judging(self, peer: str, send: Send) -> Send:
        """Count refusals, also Flower's, against the peer; not failures of this server."""

        async def judged(event: Event) -> None:
            if 400 <= event.get("status", 0) < 500 and event["status"] != 429:
                self._refusals.count(peer)
            await send(event)

        return judged

    def _refusal(self, scope: Scope, peer: str, member: bool | None) -> int:
        """The status to refuse with before the body is read; 0 for none."""
        if not (self._refusals.allows(peer) and self._requests.allows(peer)):
            return 429
        if member:
            self._requests.count(peer)
        if scope["method"] != "POST" or scope["path"] not in OPEN_PATHS or scope.get("query_string"):
            return 404
        if member is False:
            return 401
        length = header(scope, b"content-length")
        if length is None or not length.isdigit() or header(scope, b"transfer-encoding") is not None:
            return 411
        return 413 if len(length) > 15 or int(length) > self._max_body_bytes else 0

    async def _admit(self, scope: Scope, receive: Receive, send: Send, peer: str) -> None:
        parts: list[bytes] = []
        try:
            status = await self._read(receive, parts, peer)
            body = b"".join(parts)
            if status == 0 and scope["path"] == _PUSH_MESSAGES and not is_own_reply(body):
                status = 403
            if status > 0:
                await refuse(send, status)
            elif status == 0:
                self.received_bytes += len(body)
                await self._app(scope, _replay(body, receive), self._counting(send))
        finally:
            self._waiting[peer] -= sum(map(len, parts))
            self._waiting += Counter()  # drops who holds nothing

    def _counting(self, send: Send) -> Send:
        async def counted(event: Event) -> None:
            self.sent_bytes += len(event.get("body", b""))
            await send(event)

        return counted

    async def _read(self, receive: Receive, parts: list[bytes], peer: str) -> int:
        """Read the body; return the status to refuse with, 0 for none, or -1 when the peer has gone."""
        size, more = 0, True
        try:
            async with asyncio.timeout(self._body_seconds):
                while more:
                    event = await receive()
                    if event["type"] != "http.request":
                        self._refusals.count(peer)
                        return -1
                    part, more = event.get("body", b""), event.get("more_body", False)
                    size += len(part)
                    if size > self._max_body_bytes:
                        return 413
                    if self._waiting[peer] + len(part) > self._waiting_limit // _MOST_SHARES:
                        return 429
                    if self._waiting.total() + len(part) > self._waiting_limit:
                        return 503
                    parts.append(part)
                    self._waiting[peer] += len(part)
        except TimeoutError:
            return 408
        return 0


def is_own_reply(body: bytes) -> bool:
    """Whether a push holds one message, from the node that pushes it, in reply to another.

    Flower checks the node's signature, but not that the messages are its own replies: a registered node could send
    orders to another one. Flower checks next which node it is.
    """
    from flwr.proto.fleet_pb2 import PushMessagesRequest

    try:
        request = PushMessagesRequest.FromString(body)
    except Exception:  # protobuf's DecodeError; any error means that it is no message
        return False
    if len(request.messages_list) != 1 or len(request.message_object_trees) != 1:
        return False
    metadata, tree = request.messages_list[0].metadata, request.message_object_trees[0]
    return bool(
        metadata.src_node_id == request.node.node_id != 0
        and metadata.reply_to_message_id != ""
        and metadata.message_id == tree.object_id
        and tree.ByteSize() <= _LONGEST_TREE * 68
    )


def _replay(body: bytes, receive: Receive) -> Receive:
    """A body that was read already, followed by whatever comes: the peer's disconnection."""
    unread = [body]

    async def replay() -> Event:
        if unread:
            return {"type": "http.request", "body": unread.pop(), "more_body": False}
        return await receive()

    return replay
