"""Clients behind a Flower grid, as the round loop sees them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from flwr.app import Array, ConfigRecord, Message, MessageType, MetricRecord, RecordDict

from fedcore.errors import DataError, UpdateRejectedError
from fedcore.messages import ClientReport, ClientUpdate, EvaluateRequest, TrainRequest
from fedcore.method.exchange import Exchange, vector_of
from fedcore.plan import RunPlan
from fedcore.segments import Form
from fedcore.wire.envelope import Envelope, hash_of_array, received, unsealed
from fedcore.wire.objects import RemoteArray
from fedcore.wire.records import ARRAYS, PARAMETERS, check_declared_array, receive_array
from fedcore.wire.replies import read_data_in, refusal_in, unpack_report, unpack_update
from fedcore.wire.requests import pack_request
from fedcore_server.flower.correspondence import Correspondence
from fedcore_server.rounds.state import Rejection

_LOOK_AGAIN_SECONDS = 0.5
_LONGEST_REASON = 200


class Failure(Protocol):
    """Why there is no reply."""

    code: str
    reason: str


class Arrival(Protocol):
    """A reply: its small records at once, its array in chunks."""

    reply_to_message_id: str
    error: Failure | None
    small: Mapping[str, ConfigRecord | MetricRecord]
    arrays: Mapping[str, Mapping[str, RemoteArray]]

    def chunks(self, array: RemoteArray, *, max_bytes: int | None = None) -> Iterator[memoryview]: ...

    def confirm(self) -> None: ...


class Node(Protocol):
    """A connected node, with the public key that it has proved to Flower to hold."""

    node_id: int
    public_key: bytes


class ArrivingGrid(Protocol):
    """The part of a Flower grid that is used; `fedcore_server.flower.superlink.grid.StreamingGrid` is one."""

    def get_nodes(self) -> Iterable[Node]: ...

    def push_messages(self, messages: Iterable[Message]) -> Sequence[str]:
        """Message ids in order; an empty one for each message that was refused."""

    def arrivals(self, message_ids: Iterable[str], *, timeout_seconds: float) -> Iterator[Arrival]: ...


class GridFederation:
    """Clients behind a Flower grid.

    Replies are passed on one at a time, so that one model is held and not the cohort's.

    Args:
        grid: A Flower grid that yields replies as they arrive.
        correspondence: Seals requests and checks replies.
        sleep: Waits for a number of seconds.
    """

    def __init__(
        self,
        grid: ArrivingGrid,
        plan: RunPlan,
        correspondence: Correspondence,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._grid, self._plan, self._correspondence = grid, plan, correspondence
        self._timeout_seconds = plan.federation.round_timeout_seconds
        self._wanted = plan.federation.clients
        self._clock, self._sleep = clock, sleep
        self._nodes: dict[str, int] = {}
        self._rosters: dict[str, str] = {}  # what each client has shown to have

    def available(self) -> Sequence[str]:
        """Names of the connected clients on the roster.

        Waits at most `patience_seconds`: the first time for all of the plan's clients, later for a quorum. With fewer
        than a quorum the round fails.
        """
        settings = self._plan.federation
        deadline = self._clock() + settings.patience_seconds
        while len(names := self._look()) < self._wanted and self._clock() < deadline:
            self._sleep(_LOOK_AGAIN_SECONDS)
        self._wanted = settings.quorum
        return names

    def _look(self) -> Sequence[str]:
        """Connected nodes, by the roster's name for their Flower key. Replies are signed with another key."""
        members = self._correspondence.members()
        here = {members[node.public_key]: node.node_id for node in self._grid.get_nodes() if node.public_key in members}
        if new := sorted(here.keys() - self._nodes.keys()):
            self._correspondence.note_connected(new)
        self._nodes = here
        return sorted(here)

    def train(self, request: TrainRequest) -> Iterator[ClientUpdate | Rejection]:
        form = Exchange.of(self._plan).codec(vector_of(request.parameters.buffer)).form
        yield from self._absent(request)
        if not request.cohort:
            return
        yield from self._collect(
            MessageType.TRAIN, request, form, lambda content, client: unpack_update(content, form, client=client)
        )

    def evaluate(self, request: EvaluateRequest) -> Iterator[ClientReport | Rejection]:
        yield from self._collect(
            MessageType.EVALUATE, request, None, lambda content, client: unpack_report(content, client=client)
        )

    def _absent(self, request: TrainRequest) -> Iterator[Rejection]:
        if self._plan.federation.cohort_size is None:
            for name in sorted(set(self._correspondence.members().values()) - set(request.cohort) - set(self._nodes)):
                yield Rejection(client=name, code="ABSENT", reason="not connected", read_data=False)

    def _collect(
        self,
        kind: str,
        request: TrainRequest | EvaluateRequest,
        form: Form | None,
        unpack: Callable[[RecordDict, str], Any],
    ) -> Iterator[Any]:
        absent = [name for name in request.cohort if name not in self._nodes]
        for name in absent:
            yield Rejection(client=name, code="ABSENT", reason="no longer connected", read_data=False)
        names = {self._nodes[name]: name for name in request.cohort if name in self._nodes}
        roster = self._correspondence.signed_roster()
        content = {
            whole: pack_request(request, self._plan, roster=roster, whole_roster=whole) for whole in (True, False)
        }
        write = partial(
            self._correspondence.write,
            kind=kind,
            round=request.round,
            attempt=request.attempt,
            seconds=self._timeout_seconds,
            array_sha256=hash_of_array(content[True]),
        )
        requests = {node: write(content[self._rosters.get(name) != roster], to=name) for node, name in names.items()}
        for node, arrival in self._ask(kind, requests, self._timeout_seconds):
            client = names[node]
            self._rosters.pop(client, None)
            try:
                reply = unpack(self._received(arrival, requests[node][1], client, form), client)
                self._rosters[client] = roster  # it has this version
                yield reply
            except UpdateRejectedError as error:
                reason = str(error)[:_LONGEST_REASON]
                yield Rejection(client=client, code=error.code, reason=reason, read_data=error.read_data)
            except DataError as error:
                yield Rejection(client=client, code="SCHEMA", reason=str(error)[:_LONGEST_REASON])

    def _received(self, arrival: Arrival | None, request: Envelope, client: str, form: Form | None) -> RecordDict:
        """The whole content of a reply, checked step by step; an array is fetched only once it is expected."""
        if arrival is None:
            raise UpdateRejectedError(client, "LATE", "no reply before the deadline")
        if arrival.error is not None:
            raise UpdateRejectedError(client, arrival.error.code, arrival.error.reason)
        sealed = received(arrival.small, arrival.arrays)
        envelope = self._correspondence.read(sealed, request, sender=client)
        content = unsealed(sealed)
        if (code := refusal_in(content)) is not None:
            reason = f"the client refused: {code}"
            raise UpdateRejectedError(client, "REFUSED", reason, read_data=read_data_in(content))
        if form is not None:
            array = self._expected_array(content, client, form)
            if ARRAYS in arrival.arrays:  # a small one has come inside its record
                receive_array(array, partial(arrival.chunks, arrival.arrays[ARRAYS][PARAMETERS]))
        elif ARRAYS in content:
            raise DataError("expected no array in this reply")
        self._correspondence.check_array(content, envelope)
        return content

    def _expected_array(self, content: RecordDict, client: str, form: Form) -> Array:
        """The array of an update, after its declaration was checked."""
        try:
            return check_declared_array(content, form)
        except DataError as error:
            raise UpdateRejectedError(client, "LAYOUT", str(error)) from error

    def _ask(
        self, kind: str, requests: Mapping[int, tuple[RecordDict, Envelope]], timeout_seconds: float
    ) -> Iterator[tuple[int, Arrival | None]]:
        """Send one message to each node; yield each reply with its node, and None for those without a reply."""
        messages = [Message(content, node, kind, ttl=timeout_seconds) for node, (content, _) in requests.items()]
        sent = self._grid.push_messages(messages)
        waiting = {identifier: node for identifier, node in zip(sent, requests, strict=True) if identifier}
        silent = set(requests)
        del messages
        for arrival in self._grid.arrivals(list(waiting), timeout_seconds=timeout_seconds):
            node = waiting.pop(arrival.reply_to_message_id, None)
            if node is not None:
                silent.discard(node)
                yield node, arrival
            arrival.confirm()
        for node in sorted(silent):
            yield node, None
