"""Stands for Ray and Flower's simulation: delivers messages to a ClientApp here, and replies out of order."""

from __future__ import annotations

import pickle
import uuid
from collections.abc import Iterable
from contextlib import contextmanager

from flwr.app import Context, Error, Message, RecordDict
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.supercore.task_identity import TaskIdentity

from fedcore_simulations.engines.ray import engine, simulation

NODES = [11, 12, 13]


class InstantGrid:
    """Answers at the next look, the last message first.

    Args:
        answer: Makes a reply, an `Error`, or ``None`` for a message that is lost.
    """

    def __init__(self, answer):
        self._answer, self._replies, self.sent = answer, {}, []
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, SUPERLINK_NODE_ID, 1

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        return [self._deliver(message) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return [self._replies.pop(each) for each in reversed(list(message_ids)) if each in self._replies]

    def _deliver(self, message: Message) -> str:
        identifier = message.metadata.__dict__["_message_id"] = str(uuid.uuid4())
        message = pickle.loads(pickle.dumps(message))  # noqa: S301 - as on its way to another process
        self.sent.append(message)
        reply = self._answer(message)
        if isinstance(reply, Error):
            reply = Message(reply, reply_to=message)
        if reply is not None:
            self._replies[identifier] = pickle.loads(pickle.dumps(reply))  # noqa: S301
        return identifier


class InstantSimulation:
    def __init__(self, app, *, num_nodes):
        contexts = {node: Context(1, node, {}, RecordDict(), {}) for node in NODES}
        self.grid = InstantGrid(lambda message: app(message, contexts[message.metadata.dst_node_id]))
        self.nodes = NODES[:num_nodes]

    def check(self):
        return None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


@contextmanager
def _connected(address, *, workers):
    yield workers


def without_ray(monkeypatch):
    """Let the engine run its whole way, but for Ray and Flower's simulation."""
    monkeypatch.setattr(simulation, "FlowerSimulation", InstantSimulation)
    for name, instead in {
        "connected": _connected,
        "share": lambda value: value,
        "fetched": lambda value: value,
        "alive_machines": lambda: 1,
        "quieten": lambda address: None,
        "why_not": lambda address: None,
    }.items():
        monkeypatch.setattr(engine, name, instead)
