"""Flower's grid, with replies that are read one chunk at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial

import httpx
from flwr.app import Message
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, PullObjectRequest, PullObjectResponse
from flwr.proto.message_pb2 import Message as MessageProto
from flwr.proto.runtime_pb2 import PullAppMessagesRequest, PushAppMessagesRequest
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_pull_object_fn_protobuf,
    make_push_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError
from flwr.supercore.interceptors import RuntimeTokenHttpInterceptor
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.superlink.grid import HttpGrid

from fedcore.errors import DeploymentError
from fedcore.wire.objects import (
    ObjectLimits,
    ObjectReader,
    Outgoing,
    patiently,
)
from fedcore.wire.objects.retrying import bounded_retry
from fedcore_server.flower.superlink.arrival import Arrival, Reply
from fedcore_server.flower.superlink.loopback import interceptors

_TOGETHER = 8
_FIRST_WAIT_SECONDS = 0.02
_LONGEST_WAIT_SECONDS = 1.0


class StreamingGrid(HttpGrid):
    """A grid for models of any size: sends two objects at a time, and receives one.

    Args:
        runtime_address: ``SuperLink.runtime_address``.
        token: The run's task token.
        bearer: ``SuperLink.bearer``.
        stall_seconds: How long to wait for an object of a reply once the reply is complete.
    """

    def __init__(
        self,
        runtime_address: str,
        *,
        token: str,
        bearer: str,
        stall_seconds: float = 30.0,
        limits: ObjectLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(runtime_address, insecure=True, token=token)
        self._bearer, self._retry_invoker = bearer, bounded_retry()
        self._stall_seconds, self._limits = stall_seconds, limits or ObjectLimits()
        self._clock, self._sleep = clock, sleep
        self._late: set[str] = set()

    def _connect(self) -> None:
        self._client = RuntimeHttpClient(
            f"http://{self._addr}",
            interceptors=[
                *interceptors(self._bearer, "flwr-serverapp"),
                RuntimeTokenHttpInterceptor(token=self._token),
            ],
            retry_invoker=self._retry_invoker,
        )

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Send messages; returns their ids, an empty one for each that the SuperLink refused.

        They are announced eight at a time: clients ask again and again for the objects of announced messages, which
        would keep the SuperLink from receiving them.

        Raises:
            DeploymentError: The SuperLink does not answer, or the run has ended.
        """
        outgoing = Outgoing(messages)
        identifiers: list[str] = []
        for start in range(0, len(outgoing.headers), _TOGETHER):
            part = slice(start, start + _TOGETHER)
            request = PushAppMessagesRequest(
                messages_list=[message_to_proto(header) for header in outgoing.headers[part]],
                message_object_trees=outgoing.trees[part],
            )
            with _explained():
                response = self._runtime_client.PushMessages(request)
                push = make_push_object_fn_protobuf(
                    self._runtime_client.PushObject, self.node, self.run.run_id, response.session_id
                )
                outgoing.push(response.objects_to_push, push)
            identifiers += response.message_ids
        return identifiers

    def arrivals(self, message_ids: Iterable[str], *, timeout_seconds: float) -> Iterator[Arrival]:
        """The replies to these messages, each when it is complete; slow clients delay nobody else.

        Polls after 20 ms, then half as often up to once a second. Requests without a reply in time are withdrawn, and a
        later reply is discarded.
        """
        asked = {message_id for message_id in message_ids if message_id}
        waiting, coming = set(asked), dict[str, Reply]()
        deadline, pause = self._clock() + timeout_seconds, _FIRST_WAIT_SECONDS
        try:
            while (waiting or coming) and self._clock() < deadline:
                coming |= self._headers(waiting)
                complete = [arrival for reply in coming.values() if (arrival := reply.complete()) is not None]
                for arrival in complete:
                    del coming[arrival.message_id]
                    yield arrival
                pause = _FIRST_WAIT_SECONDS if complete else min(2 * pause, _LONGEST_WAIT_SECONDS)
                if waiting or coming:
                    self._sleep(pause)
        finally:
            self._late |= waiting
            self._forget([*coming, *asked])

    def withdraw(self, message_ids: Iterable[str]) -> None:
        asked = [message_id for message_id in message_ids if message_id]
        self._late |= set(asked)
        self._forget(asked)

    def _headers(self, waiting: set[str]) -> dict[str, Reply]:
        """New replies, taken out of `waiting`. The SuperLink has checked their metadata, nobody their content."""
        if not waiting:
            return {}
        with _explained():
            response = self._runtime_client.PullMessages(PullAppMessagesRequest(message_ids=waiting | self._late))
        replies: dict[str, Reply] = {}
        for header in response.messages_list:
            answered = header.metadata.reply_to_message_id
            if answered in waiting:
                waiting.discard(answered)
                replies[header.metadata.message_id] = self._reply(header)
            else:
                self._late.discard(answered)
                self._forget([header.metadata.message_id])
        return replies

    def _reply(self, header: MessageProto) -> Reply:
        pull = make_pull_object_fn_protobuf(self._pull_object, self.node, self.run.run_id)
        return Reply(
            header,
            ObjectReader(pull, self._limits),
            patiently(pull, stall_seconds=self._stall_seconds, clock=self._clock, sleep=self._sleep),
            partial(self._forget, [header.metadata.message_id]),
        )

    def _pull_object(self, request: PullObjectRequest) -> PullObjectResponse:
        with _explained():
            return self._runtime_client.PullObject(request)

    def _forget(self, message_ids: Iterable[str]) -> None:
        """Have the SuperLink delete messages' objects; those already deleted are no error."""
        for message_id in message_ids:
            with _explained():
                self._runtime_client.ConfirmMessageReceived(
                    ConfirmMessageReceivedRequest(node=self.node, run_id=self.run.run_id, message_object_id=message_id)
                )


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        ended = " The run was stopped, or the SuperLink had no heartbeat of it for a minute." if status == 401 else ""
        raise DeploymentError(f"the SuperLink refused a call of the run (HTTP {status}).{ended}") from error
    except (httpx.HTTPError, ObjectPushError) as error:
        raise DeploymentError(f"the SuperLink does not answer ({type(error).__name__}): is the server up?") from error
