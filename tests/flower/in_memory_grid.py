"""A grid without a network: real messages, sealed and opened, delivered to a ClientApp in this process."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from flwr.app import ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.proto.node_pb2 import NodeInfo
from flwr.supercore.task_identity import TaskIdentity

from fedcore.storage.events import EventLog
from fedcore.trust.identity import COORDINATOR, FlowerKey, Identity
from fedcore.trust.roster import Member, Roster
from fedcore.wire.envelope import open_envelope, seal, unsealed
from fedcore.wire.objects import RemoteArray
from fedcore_server.flower.correspondence import Correspondence

_FIRST_NODE = 1000
Tamper = Callable[[str, RecordDict], RecordDict | None]


@dataclass
class Consortium:
    """Keys of a coordinator and its clients."""

    coordinator: Identity
    clients: dict[str, Identity]
    roster: Roster

    @classmethod
    def of(cls, names: Iterable[str]) -> Consortium:
        coordinator = Identity.create(COORDINATOR)
        clients = {name: Identity.create(name) for name in sorted(names)}
        members = tuple(
            Member(
                name=name,
                identity_key=identity.public.key,
                flower_key=FlowerKey.create().public_bytes,
                admitted="2026-11-22",
            )
            for name, identity in clients.items()
        )
        roster = Roster(
            consortium="test", version=1, server="localhost:1", coordinator=coordinator.public.key, members=members
        )
        return cls(coordinator, clients, roster)

    def correspondence(self, events: EventLog, *, run: str = "run", incarnation: int = 1) -> Correspondence:
        return Correspondence(self.coordinator, lambda: self.roster, run=run, incarnation=incarnation, events=events)


@dataclass
class WholeReply:
    """A reply that came all at once."""

    reply_to_message_id: str
    error: Any
    small: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, dict[str, RemoteArray]] = field(default_factory=dict)
    data: bytes = b""

    def chunks(self, array: RemoteArray, *, max_bytes: int | None = None) -> Iterator[memoryview]:
        for start in range(0, len(self.data), 100):
            yield memoryview(self.data)[start : start + 100]

    def confirm(self) -> None:
        return


class InMemoryGrid:
    """Delivers each message at once; what a handler raises becomes an error without words.

    Args:
        tamper: May change a reply's records before they are sealed; ``None`` loses it.
        forge: May change them afterwards.
    """

    def __init__(
        self, app: ClientApp, consortium: Consortium, *, tamper: Tamper | None = None, forge: Tamper | None = None
    ) -> None:
        self._app, self._consortium = app, consortium
        self._tamper, self._forge = tamper or (lambda _, content: content), forge or (lambda _, content: content)
        self._names = {_FIRST_NODE + index: name for index, name in enumerate(consortium.clients)}
        self._replies: dict[str, WholeReply] = {}
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, SUPERLINK_NODE_ID, 1

    def get_nodes(self) -> list[NodeInfo]:
        keys = {member.name: member.flower_key for member in self._consortium.roster.members}
        return [NodeInfo(node_id=node, public_key=keys[name]) for node, name in self._names.items() if name in keys]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        return [self._deliver(message) for message in messages]

    def arrivals(self, message_ids: Iterable[str], *, timeout_seconds: float) -> Iterator[WholeReply]:
        for identifier in message_ids:
            if identifier in self._replies:
                yield self._replies.pop(identifier)

    def _deliver(self, message: Message) -> str:
        identifier = str(uuid.uuid4())
        message.metadata.__dict__["_message_id"] = identifier
        name = self._names[message.metadata.dst_node_id]
        request = open_envelope(message.content, self._consortium.coordinator.public, destination=name)
        message.content = unsealed(message.content)
        try:
            reply = self._app(message, Context(1, message.metadata.dst_node_id, {"name": name}, RecordDict(), {}))
        except Exception:
            failure = SimpleNamespace(code="ERROR", reason="the client failed")
            self._replies[identifier] = WholeReply(identifier, failure)
            return identifier
        content = self._tamper(name, reply.content)
        if content is None:
            return identifier
        sealed, _ = seal(
            content,
            request.place,
            identity=self._consortium.clients[name],
            destination=request.source,
            chain_head="0" * 64,
            in_reply_to=request.nonce,
        )
        self._replies[identifier] = whole(identifier, self._forge(name, sealed))
        return identifier


def whole(identifier: str, content: RecordDict) -> WholeReply:
    small = {name: record for name, record in content.items() if not isinstance(record, ArrayRecord)}
    arrays = {
        name: {
            key: RemoteArray(dtype=each.dtype, shape=tuple(each.shape), stype=each.stype, chunks=("one",))
            for key, each in record.items()
        }
        for name, record in content.items()
        if isinstance(record, ArrayRecord)
    }
    data = b"".join(
        bytes(each.data) for record in content.values() if isinstance(record, ArrayRecord) for each in record.values()
    )
    return WholeReply(identifier, None, small, arrays, data)
