"""The only door to the SuperLink that the network can see.

Flower serves its Control and Runtime APIs, which know no accounts, on the same port as the Fleet API. The gateway
lets through the Fleet calls that a registered node needs, and nothing else; it limits size before
anything of Flower's runs, turns away an address that is refused again and again, and holds a node to its own name,
which Flower does not.
"""

from __future__ import annotations

import asyncio

from fedcore_server.superlink.asgi import Application, Event, Receive, Scope, Send, header, refuse
from fedcore_server.superlink.rate_limit import RateLimit

_MIB = 1 << 20
_FLEET = "/v1/fleet/"
_PUSH_MESSAGES = f"{_FLEET}push-messages"
_LONGEST_TREE = 65_536

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
        app: Flower's application; it sees each request only when the whole of it is here and within the limits.
        max_body_bytes: The largest body. A model travels in objects of 5 MiB.
        refusals_per_second: How often one peer address may be refused on average, and `refusal_burst` at once.
        body_seconds: How long a body may take to come.
        waiting_bytes: What all bodies together may hold in memory.

    Attributes:
        received_bytes: Of all bodies let through so far; `sent_bytes` of all answers.
    """

    def __init__(
        self,
        app: Application,
        *,
        max_body_bytes: int = 8 * _MIB,
        refusals_per_second: float = 20.0,
        refusal_burst: int = 1000,
        body_seconds: float = 180.0,
        waiting_bytes: int = 512 * _MIB,
    ) -> None:
        self._app, self._max_body_bytes = app, max_body_bytes
        self._rate = RateLimit(refusals_per_second, refusal_burst)
        self._body_seconds = body_seconds
        self._waiting_bytes, self._waiting_limit = 0, waiting_bytes
        self.received_bytes = self.sent_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self._serve(scope, receive, self._judging(scope, send))

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if status := self._refusal(scope):
            await refuse(send, status)
        else:
            await self._admit(scope, receive, send)

    def _judging(self, scope: Scope, send: Send) -> Send:
        """Count what is refused, by Flower too, as the peer's doing; what fails here is not, nor that it came back."""

        async def judged(event: Event) -> None:
            if 400 <= event.get("status", 0) < 500 and event["status"] != 429:
                self._rate.refused(_peer(scope))
            await send(event)

        return judged

    def _refusal(self, scope: Scope) -> int:
        """The status to refuse with before the body is read; 0 for none."""
        if not self._rate.allows(_peer(scope)):
            return 429
        if scope["method"] != "POST" or scope["path"] not in OPEN_PATHS or scope.get("query_string"):
            return 404
        length = header(scope, b"content-length")
        if length is None or not length.isdigit() or header(scope, b"transfer-encoding") is not None:
            return 411
        return 413 if len(length) > 15 or int(length) > self._max_body_bytes else 0

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        parts: list[bytes] = []
        try:
            status = await self._read(receive, parts)
            body = b"".join(parts)
            if status == 0 and scope["path"] == _PUSH_MESSAGES and not is_own_reply(body):
                status = 403
            if status > 0:
                await refuse(send, status)
            elif status == 0:
                self.received_bytes += len(body)
                await self._app(scope, _replay(body, receive), self._counting(send))
        finally:
            self._waiting_bytes -= sum(map(len, parts))

    def _counting(self, send: Send) -> Send:
        async def counted(event: Event) -> None:
            self.sent_bytes += len(event.get("body", b""))
            await send(event)

        return counted

    async def _read(self, receive: Receive, parts: list[bytes]) -> int:
        """Read the body; return the status to refuse with, 0 for none, or -1 when the peer has gone."""
        size, more = 0, True
        try:
            async with asyncio.timeout(self._body_seconds):
                while more:
                    event = await receive()
                    if event["type"] != "http.request":
                        return -1
                    part, more = event.get("body", b""), event.get("more_body", False)
                    size += len(part)
                    if size > self._max_body_bytes:
                        return 413
                    if self._waiting_bytes + len(part) > self._waiting_limit:
                        return 503
                    parts.append(part)
                    self._waiting_bytes += len(part)
        except TimeoutError:
            return 408
        return 0


def _peer(scope: Scope) -> str:
    return scope["client"][0] if scope.get("client") else ""


def is_own_reply(body: bytes) -> bool:
    """Whether a push holds one message, in the name of the node that pushes it, and in reply to another.

    Flower checks the node's signature, but not that the messages bear its name, nor that they are replies: a
    registered node could give another one orders. Which node it is, Flower checks next.
    """
    from flwr.proto.fleet_pb2 import PushMessagesRequest

    try:
        request = PushMessagesRequest.FromString(body)
    except Exception:  # protobuf's DecodeError; whatever it is, it is no message
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
    """A body that was read already, and after it whatever comes: that is, the peer's leaving."""
    unread = [body]

    async def replay() -> Event:
        if unread:
            return {"type": "http.request", "body": unread.pop(), "more_body": False}
        return await receive()

    return replay
