"""Flower's ``Grid`` without a network: real messages, delivered to a ClientApp in this process."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

_FIRST_NODE = 1000


class InMemoryGrid(Grid):
    """Delivers each message at once; what a handler raises becomes Flower's error reply.

    Args:
        names: One node for each, which finds its name in its node configuration.
        tamper: May replace a reply on its way back; ``None`` loses it.
    """

    def __init__(
        self, app: ClientApp, names: Iterable[str], *, tamper: Callable[[str, Message], Message | None] | None = None
    ) -> None:
        self._app, self._tamper = app, tamper or (lambda _, reply: reply)
        self._run = Run.create_empty(1)
        self._contexts = {
            _FIRST_NODE + index: Context(1, _FIRST_NODE + index, {"name": name}, RecordDict(), {})
            for index, name in enumerate(names)
        }
        self._replies: dict[str, Message] = {}
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, SUPERLINK_NODE_ID, 1

    def set_run(self, run: Any) -> None:
        self._run = run

    @property
    def run(self) -> Any:
        return self._run

    def create_message(self, content: Any, message_type: str, dst_node_id: int, group_id: str, ttl: Any = None) -> Any:
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> list[int]:
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        return [self._deliver(message) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return [self._replies.pop(identifier) for identifier in list(message_ids) if identifier in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        return self.pull_messages(self.push_messages(messages))

    def _deliver(self, message: Message) -> str:
        identifier = str(uuid.uuid4())
        message.metadata.__dict__["_message_id"] = identifier
        context = self._contexts[message.metadata.dst_node_id]
        try:
            reply = self._app(message, context)
        except Exception as error:
            reply = Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, repr(error)), reply_to=message)
        answer = self._tamper(str(context.node_config["name"]), reply)
        if answer is not None:
            self._replies[identifier] = answer
        return identifier
