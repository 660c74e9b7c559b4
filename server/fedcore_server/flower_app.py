"""The round loop as a Flower ``ServerApp``: a `Federation` whose clients sit behind a Flower ``Grid``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from flwr.app import Context, Message, MessageType, RecordDict
from flwr.serverapp import Grid, ServerApp

from fedcore.audit.hooks import AuditHook
from fedcore.errors import DataError, RoundFailedError, UpdateRejectedError
from fedcore.messages import ClientReport, ClientUpdate, EvaluateRequest, TrainRequest
from fedcore.plan import RunPlan
from fedcore.task import Task
from fedcore.transforms import load_transforms
from fedcore.wire import pack_request, unpack_name, unpack_report, unpack_update
from fedcore_server.driver import OnRound, Outcome, Run
from fedcore_server.rounds import init_state
from fedcore_server.state import Rejection

_FIRST_WAIT_SECONDS = 0.02
_LONGEST_WAIT_SECONDS = 1.0
_QUERY_SECONDS = 10.0
_ASK_AGAIN_SECONDS = 60.0
_LONGEST_REASON = 200


class GridFederation:
    """Clients behind a Flower grid.

    Replies are pulled as they arrive and handed on one at a time, so that one model is held and not the
    cohort's. Polling starts quick and backs off, where Flower's own ``send_and_receive`` waits three seconds.

    Args:
        timeout_seconds: A client that has not answered by then is rejected as ``LATE``.
        sleep: Waits for a number of seconds.
    """

    def __init__(
        self,
        grid: Grid,
        plan: RunPlan,
        *,
        timeout_seconds: float = 3600.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._grid, self._plan = grid, plan
        self._timeout_seconds, self._clock, self._sleep = timeout_seconds, clock, sleep
        self._nodes: dict[str, int] = {}
        self._ask_again: dict[int, float] = {}

    def available(self) -> Sequence[str]:
        """Names of the connected clients; new ones are asked for theirs."""
        connected = set(self._grid.get_node_ids())
        self._nodes = {name: node for name, node in self._nodes.items() if node in connected}
        now = self._clock()
        strangers = {node for node in connected - set(self._nodes.values()) if self._ask_again.get(node, now) <= now}
        question = dict.fromkeys(sorted(strangers), RecordDict())
        for node, reply in self._ask(MessageType.QUERY, question, min(_QUERY_SECONDS, self._timeout_seconds)):
            self._ask_again[node] = now + _ASK_AGAIN_SECONDS
            if reply is not None and reply.has_content():
                self._introduce(node, reply)
        return sorted(self._nodes)

    def train(self, request: TrainRequest) -> Iterator[ClientUpdate | Rejection]:
        """Ask the cohort to train; updates as they arrive."""
        layout = request.parameters.layout
        yield from self._collect(
            MessageType.TRAIN, request, lambda content, client: unpack_update(content, layout, client=client)
        )

    def evaluate(self, request: EvaluateRequest) -> Iterator[ClientReport | Rejection]:
        """Ask the cohort to evaluate; reports as they arrive."""
        yield from self._collect(
            MessageType.EVALUATE, request, lambda content, client: unpack_report(content, client=client)
        )

    def _collect(
        self, kind: str, request: TrainRequest | EvaluateRequest, unpack: Callable[[RecordDict, str], Any]
    ) -> Iterator[Any]:
        names = {self._nodes[name]: name for name in request.cohort}
        content = {node: pack_request(request, self._plan) for node in names}
        for node, reply in self._ask(kind, content, self._timeout_seconds):
            client = names[node]
            if reply is None:
                yield Rejection(client=client, code="LATE", reason="no reply before the deadline")
            elif not reply.has_content():
                # The error's text is the client's and may hold data: only Flower's number of it is kept.
                yield Rejection(client=client, code="ERROR", reason=f"the client failed (code {reply.error.code})")
            else:
                try:
                    yield unpack(reply.content, client)
                except UpdateRejectedError as error:
                    yield Rejection(client=client, code=error.code, reason=str(error)[:_LONGEST_REASON])

    def _ask(
        self, kind: str, content: dict[int, RecordDict], timeout_seconds: float
    ) -> Iterator[tuple[int, Message | None]]:
        """Send one message to each node; yield each reply with its node, and None for those that never came."""
        messages = [Message(record, node, kind) for node, record in content.items()]
        waiting = dict(zip(self._grid.push_messages(messages), content, strict=True))
        deadline, wait = self._clock() + timeout_seconds, _FIRST_WAIT_SECONDS
        while waiting and self._clock() < deadline:
            arrived = list(self._grid.pull_messages(list(waiting)))
            for reply in arrived:
                node = waiting.pop(reply.metadata.reply_to_message_id, None)
                if node is not None:
                    yield node, reply
            wait = _FIRST_WAIT_SECONDS if arrived else min(2 * wait, _LONGEST_WAIT_SECONDS)
            if waiting:
                self._sleep(wait)
        for node in waiting.values():
            yield node, None

    def _introduce(self, node: int, reply: Message) -> None:
        try:
            name = unpack_name(reply.content)
        except DataError:
            return
        if name not in self._nodes:  # the first to bear a name keeps it
            self._nodes[name] = node


def build_server_app(
    task: Task,
    plan: RunPlan,
    *,
    on_round: OnRound,
    on_end: Callable[[Outcome], None],
    hooks: Sequence[AuditHook] = (),
    timeout_seconds: float = 3600.0,
    patience_seconds: float = 600.0,
) -> ServerApp:
    """A ServerApp that runs a resolved plan to its end.

    Args:
        on_end: Given the outcome; a ServerApp returns nothing.
        timeout_seconds: How long a client may take for one reply.
        patience_seconds: How long to wait at the start for the plan's number of clients.
    """
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        federation = GridFederation(grid, plan, timeout_seconds=timeout_seconds)
        _wait_for_clients(federation, plan.federation.clients, patience_seconds)
        run = Run(task=task, plan=plan, federation=federation, hooks=hooks, transforms=load_transforms(plan))
        on_end(run.to_end(init_state(task, plan), on_round))

    return app


def _wait_for_clients(federation: GridFederation, wanted: int, patience_seconds: float) -> None:
    deadline = time.monotonic() + patience_seconds
    while (found := len(federation.available())) < wanted:
        if time.monotonic() > deadline:
            raise RoundFailedError(f"{found} of {wanted} clients connected within {patience_seconds:.0f} seconds")
        time.sleep(_LONGEST_WAIT_SECONDS)
