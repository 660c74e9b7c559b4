"""Asks clients through a Flower grid, a window at a time, and hands on their replies in the order asked."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from flwr.app import Message, RecordDict
from flwr.common.constant import ErrorCode

from fedcore.errors import EngineError
from fedcore_simulations.engines.ray.parcels import check_answered, opened

_SHORTEST_SECONDS, _LONGEST_SECONDS = 0.002, 0.05
_PAUSE_SECONDS, _PATIENCE_SECONDS, _FEWEST_FAILURES = 1.0, 60.0, 3
_TTL_SECONDS = 30 * 24 * 3600.0  # Flower drops a message that is older


class MessageGrid(Protocol):
    """The part of a Flower grid that is used."""

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]: ...

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]: ...


@dataclass(slots=True, kw_only=True)
class _Question:
    """A content without a reply yet; times are the clock's.

    Attributes:
        failures: How often its process died.
        again_at: When it is sent once more.
    """

    content: RecordDict
    failures: int = 0
    failed_at: float = 0.0
    again_at: float = math.inf

    def fail(self, now: float, why: str | None) -> None:
        """Note a failure; raises `EngineError` once there are enough."""
        if not self.failures:
            self.failed_at = now
        self.failures += 1
        self.again_at = now + _PAUSE_SECONDS
        if self.failures >= _FEWEST_FAILURES and now - self.failed_at > _PATIENCE_SECONDS:
            raise EngineError(
                f"{opened(self.content)[0].client}: its process on the Ray cluster died {self.failures} times, most "
                f"likely for want of memory; try fewer --workers. Ray says: {why}"
            )


class Asker:
    """Keeps each virtual node busy with one message at a time.

    A node of Flower's is a place in the window, and not a client: which client a message is for stands in it. So their
    number does not grow with the federation, and Flower, which looks for each node's messages in turn, stays fast.

    Training the same client again gives the same reply, so what may be lost is simply asked again.

    Args:
        nodes: Ids of the nodes; at most so many replies are waited for, and held, at once.
        check: Called while waiting; raises `EngineError` if no reply can come any more. Where it returns true, some
            messages may be lost, and all that are open are sent again.
    """

    def __init__(
        self,
        grid: MessageGrid,
        nodes: Sequence[int],
        check: Callable[[], bool],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._grid, self._nodes, self._check, self._clock, self._sleep = grid, nodes, check, clock, sleep
        self._kind = ""
        self._open: dict[int, _Question] = {}
        self._positions: dict[str, int] = {}

    def ask(self, kind: str, contents: Iterable[RecordDict]) -> Iterator[RecordDict]:
        """Send each of the contents, and yield the replies in their order.

        Raises:
            FedcoreError: What the first client that failed raised.
            EngineError: A client's process died again and again, or the simulation ended.
        """
        coming, replies = iter(contents), dict[int, RecordDict]()
        self._kind, self._open, self._positions = kind, {}, {}
        sent = taken = 0
        wait = _SHORTEST_SECONDS
        while True:
            for content in islice(coming, len(self._nodes) - (sent - taken)):
                self._open[sent] = _Question(content=content)
                self._send([sent])
                sent += 1
            if sent == taken:
                return
            arrived = self._arrived()
            replies |= arrived
            while taken in replies:
                yield replies.pop(taken)
                taken += 1
            wait = _SHORTEST_SECONDS if arrived else min(2 * wait, _LONGEST_SECONDS)
            if not arrived:
                self._wait(wait)

    def _send(self, positions: Sequence[int]) -> None:
        if not positions:
            return
        messages = [
            Message(self._open[each].content, self._nodes[each % len(self._nodes)], self._kind, ttl=_TTL_SECONDS)
            for each in positions
        ]
        self._positions |= dict(zip(self._grid.push_messages(messages), positions, strict=True))

    def _arrived(self) -> dict[int, RecordDict]:
        """The replies that have come, by position; the second to the same content is dropped."""
        arrived = {}
        for message in self._grid.pull_messages(list(self._positions)):
            position = self._positions.pop(message.metadata.reply_to_message_id)
            question = self._open.get(position)
            if question is None:
                continue
            if message.has_error():
                _check_repeatable(message, question)
                question.fail(self._clock(), message.error.reason)
                continue
            check_answered(message.content)
            arrived[position] = message.content
            del self._open[position]
        return arrived

    def _wait(self, seconds: float) -> None:
        self._sleep(seconds)
        lost, now = self._check(), self._clock()
        again = [position for position, each in self._open.items() if lost or each.again_at <= now]
        for position in again:
            self._open[position].again_at = math.inf
        self._send(again)


def _check_repeatable(message: Message, question: _Question) -> None:
    """Raise an error that would come again: of the code, and not of the cluster."""
    if message.error.code in (ErrorCode.CLIENT_APP_RAISED_EXCEPTION, ErrorCode.LOAD_CLIENT_APP_EXCEPTION):
        client = opened(question.content)[0].client
        raise EngineError(f"{client} failed on the Ray cluster: {message.error.reason}")
