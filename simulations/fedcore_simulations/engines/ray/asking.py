"""Asks clients through a Flower grid, a window at a time, and hands on their replies in the order asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol

from flwr.app import Message, RecordDict

from fedcore.errors import EngineError
from fedcore_simulations.engines.ray.parcels import check_answered, opened

_SHORTEST_SECONDS, _LONGEST_SECONDS = 0.002, 0.05
_TTL_SECONDS = 30 * 24 * 3600.0  # Flower drops a message that is older


class MessageGrid(Protocol):
    """The part of a Flower grid that is used."""

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]: ...

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]: ...


class Asker:
    """Keeps each virtual node busy with one message at a time.

    A node of Flower's is a place in the window, and not a client: which client a message is for stands in it. So their
    number does not grow with the federation, and Flower, which looks for each node's messages in turn, stays fast.

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
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._grid, self._nodes, self._check, self._sleep = grid, nodes, check, sleep
        self._kind = ""
        self._open: dict[int, RecordDict] = {}
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
            fresh = dict(enumerate(islice(coming, len(self._nodes) - (sent - taken)), start=sent))
            sent += len(fresh)
            self._send(fresh)
            if sent == taken:
                return
            arrived = self._arrived()
            replies |= arrived
            while taken in replies:
                yield replies.pop(taken)
                taken += 1
                wait = _SHORTEST_SECONDS
            if not arrived:
                self._wait(wait)
                wait = min(2 * wait, _LONGEST_SECONDS)

    def _send(self, contents: dict[int, RecordDict]) -> None:
        if not contents:
            return
        messages = [
            Message(content, self._nodes[position % len(self._nodes)], self._kind, ttl=_TTL_SECONDS)
            for position, content in contents.items()
        ]
        self._open |= contents
        self._positions |= dict(zip(self._grid.push_messages(messages), contents, strict=True))

    def _arrived(self) -> dict[int, RecordDict]:
        """The replies that have come, by position; the second to the same content is dropped."""
        arrived = {}
        for message in self._grid.pull_messages(list(self._positions)):
            position = self._positions.pop(message.metadata.reply_to_message_id)
            content = self._open.pop(position, None)
            if content is not None:
                arrived[position] = _checked(message, content)
        return arrived

    def _wait(self, seconds: float) -> None:
        self._sleep(seconds)
        if self._check():
            self._send(dict(self._open))


def _checked(message: Message, request: RecordDict) -> RecordDict:
    if message.has_error():
        client, why = opened(request)[0].client, message.error.reason
        raise EngineError(
            f"{client}: its process on the Ray cluster failed, and so did the retries: {why}; if it was killed, most "
            "likely for want of memory, try fewer --workers"
        )
    check_answered(message.content)
    return message.content
