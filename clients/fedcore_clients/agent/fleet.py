"""The client's side of Flower's Fleet API: the only use of Flower's connection by clients.

It uses Flower's own HTTP client and node authentication, but not its worker loop, which ends the process on a refused
connection and interrupts it on a refused heartbeat.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.app import ArrayRecord, Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_pull_object_fn_protobuf,
    make_push_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from fedcore.errors import DeploymentError, RequestGoneError
from fedcore.storage.mapped_bytes import let_go
from fedcore.wire.envelope import received
from fedcore.wire.objects import Outgoing, Pull, Push, RemoteArray, patiently, read_chunks, read_records
from fedcore.wire.objects.retrying import bounded_retry
from fedcore.wire.records import ARRAYS, PARAMETERS

_log = logging.getLogger("fedcore.client")

_HEARTBEAT_SECONDS = 30.0  # Flower's own; a client counts as gone after two, and is refused until then
_RETRY_SECONDS = 60.0
_OBJECT_SECONDS = 60.0
_WHILE_STARTING = frozenset({401, 412})  # a new server process does not know its roster yet


class Incoming:
    """A message for this node: its small records at once, its array in chunks.

    Attributes:
        content: The records, arrays without their bytes.
    """

    def __init__(self, header: Message, pull: Pull) -> None:
        self.header, self._pull = header, pull
        records = read_records(header.metadata.message_id, pull)
        self.content = received(records.small, records.arrays)
        self._arrays = records.arrays

    def chunks(self, *, max_bytes: int) -> Iterator[memoryview]:
        """The bytes of the one array, in order, hashes checked.

        Raises:
            ObjectError: A chunk is malformed, too large, or missing.
        """
        array: RemoteArray = self._arrays[ARRAYS][PARAMETERS]
        return read_chunks(array, self._pull, max_bytes=max_bytes)


class Fleet:
    """A connection to the SuperLink, as an activated node."""

    def __init__(
        self, client: FleetHttpClient, node: Node, stopping: Callable[[], bool], waiting: Callable[[str], None]
    ) -> None:
        self._client, self._node = client, node
        message = f"the server does not answer; trying again for {_RETRY_SECONDS:.0f} s"
        self._retry = bounded_retry(_RETRY_SECONDS, stopping=stopping, on_first=lambda: waiting(message))

    def receive(self) -> Incoming | None:
        """The next message, or None where there is none.

        Raises:
            DeploymentError: The server does not answer, or refuses this client.
            RequestGoneError: The message's run has ended.
            ObjectError: The message is malformed.
        """
        with _explained():
            response = self._retry.invoke(self._client.PullMessages, PullMessagesRequest(node=self._node))
        if not response.messages_list:
            return None
        header = message_from_proto(response.messages_list[0])
        return Incoming(header, self._puller(header.metadata.run_id))

    def confirm(self, incoming: Incoming) -> None:
        """Let the SuperLink delete a message that was read or will not be."""
        metadata = incoming.header.metadata
        request = ConfirmMessageReceivedRequest(
            node=self._node, run_id=metadata.run_id, message_object_id=metadata.message_id
        )
        with _of_a_run():
            self._retry.invoke(self._client.ConfirmMessageReceived, request)

    def reply(self, incoming: Incoming, content: RecordDict) -> None:
        self._send(Message(content, reply_to=incoming.header))

    def fail(self, incoming: Incoming) -> None:
        """Answer with an error without content, as unknown senders get no information."""
        error = Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, "refused")
        self._send(Message(error, reply_to=incoming.header))

    def _send(self, message: Message) -> None:
        outgoing = Outgoing([message])
        request = PushMessagesRequest(
            node=self._node,
            messages_list=[message_to_proto(outgoing.headers[0])],
            message_object_trees=outgoing.trees,
            clientapp_runtime_list=[0.0],
        )
        with _of_a_run():
            response = self._retry.invoke(self._client.PushMessages, request)
            push = make_push_object_fn_protobuf(
                lambda each: self._retry.invoke(self._client.PushObject, each),
                self._node,
                message.metadata.run_id,
                response.session_id,
            )
            outgoing.push(response.objects_to_push, _letting_go(push, message))

    def _puller(self, run_id: int) -> Pull:
        pull = make_pull_object_fn_protobuf(
            lambda each: self._retry.invoke(self._client.PullObject, each), self._node, run_id
        )

        def explained(object_id: str) -> bytes:
            with _of_a_run():
                return pull(object_id)

        return patiently(explained, stall_seconds=_OBJECT_SECONDS)


@contextmanager
def connect(
    server: str,
    *,
    authority: Path,
    flower_key: Path,
    stopping: Callable[[], bool] = lambda: False,
    waiting: Callable[[str], None] = lambda line: None,
) -> Iterator[Fleet]:
    """Connect to a SuperLink over TLS as the node of `flower_key`, and keep the connection alive.

    Args:
        server: ``HOST:PORT``.
        authority: Certificate of the only trusted authority.
        stopping: Whether the client is to end; failed calls are then not repeated.
        waiting: Called when a call has failed and is repeated.

    Raises:
        DeploymentError: The server cannot be reached, is another one, or refuses this client.
    """
    key: Any = load_ssh_private_key(flower_key.read_bytes(), None)
    with FleetHttpClient.from_server_address(
        server,
        insecure=False,
        root_certificates=authority.read_bytes(),
        interceptors=[
            RuntimeVersionHttpInterceptor(component_name="SuperNode"),
            NodeAuthHttpInterceptor(key, key.public_key()),
        ],
    ) as client:
        client._client.follow_redirects = False  # a server must not redirect this machine
        client._client.headers["accept-encoding"] = "identity"  # nor send small data that unpacks to a lot
        node = _activate(client, key)
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 0, node.node_id, 0
        stopped = threading.Event()
        pulse = threading.Thread(target=_beat, args=(client, node, stopped), name="heartbeat", daemon=True)
        pulse.start()
        try:
            yield Fleet(client, node, stopping, waiting)
        finally:
            stopped.set()
            pulse.join(_HEARTBEAT_SECONDS)
            with contextlib.suppress(httpx.HTTPError):
                client.DeactivateNode(DeactivateNodeRequest(node_id=node.node_id))


def _activate(client: FleetHttpClient, key: Any) -> Node:
    from flwr.supercore.primitives.asymmetric import public_key_to_bytes

    request = ActivateNodeRequest(
        public_key=public_key_to_bytes(key.public_key()), heartbeat_interval=_HEARTBEAT_SECONDS
    )
    with _explained():
        return Node(node_id=bounded_retry(5.0, passing=_WHILE_STARTING).invoke(client.ActivateNode, request).node_id)


def _beat(client: FleetHttpClient, node: Node, stopped: threading.Event) -> None:
    """Send heartbeats; a failure shows in the next call of the main thread."""
    request = SendNodeHeartbeatRequest(node=node, heartbeat_interval=_HEARTBEAT_SECONDS)
    while not stopped.wait(0.8 * _HEARTBEAT_SECONDS * random.uniform(0.9, 1.1)):  # noqa: S311 - no secret
        with contextlib.suppress(httpx.HTTPError):
            client.SendNodeHeartbeat(request)


def _letting_go(push: Push, message: Message) -> Push:
    """Free the pages of a mapped array after each chunk that was sent."""
    records = message.content.values() if message.has_content() else ()
    arrays = [array for record in records if isinstance(record, ArrayRecord) for array in record.values()]

    def push_and_let_go(object_id: str, content: bytes) -> None:
        push(object_id, content)
        for array in arrays:
            let_go(array.data)

    return push_and_let_go


@contextmanager
def _of_a_run() -> Iterator[None]:
    """As `_explained`, for calls about one run: a call that Flower forbids concerns that run."""
    try:
        with _explained():
            yield
    except DeploymentError as error:
        cause = error.__cause__
        if isinstance(cause, httpx.HTTPStatusError) and cause.response.status_code == httpx.codes.FORBIDDEN:
            raise RequestGoneError("the request's run has ended, or was started again") from cause
        raise


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        raise DeploymentError(_STATUS.get(status, f"the server refused a call (HTTP {status})")) from error
    except ObjectPushError as error:
        raise RequestGoneError("the reply came too late") from error
    except ValueError as error:
        raise DeploymentError("the server's answer is not a SuperLink's") from error
    except httpx.HTTPError as error:
        if "certificate" in str(error).lower():
            raise DeploymentError(
                "the server's certificate is not signed by the consortium's authority, has expired, or is for another "
                f"host, so nothing was sent: {error}"
            ) from error
        raise DeploymentError(f"the server does not answer ({type(error).__name__})") from error


_STATUS = {
    401: "the server refuses this client: it was removed from the consortium, or this machine's clock is more "
    "than five seconds ahead of or five minutes behind the server's",
    412: "the server refuses this client: it was not admitted yet; or the server still counts it as connected, "
    "as it does for a minute after a crash; or another process uses the same key",
}
