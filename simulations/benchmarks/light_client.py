"""A client without a process of its own: many of them show what one server can serve."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from flwr.app import ArrayRecord, Context, RecordDict
from flwr.app.message import make_message
from flwr.clientapp import ClientApp

from fedcore.errors import DeploymentError, RequestGoneError
from fedcore.trust.identity import Identity, PublicIdentity
from fedcore.wire.envelope import open_envelope, seal, unsealed
from fedcore_clients.agent.fleet import Fleet, Incoming, connect
from fedcore_clients.agent.polling import Polling, spread

_RETRY_SECONDS = 2.0
_NO_HISTORY = "0" * 64
_TRAINING = threading.Lock()  # a ClientApp keeps one model, and trains one client at a time


@dataclass(kw_only=True)
class LightClient:
    """Connects, asks and answers as `fedcore client` does, without its policy, ledger and child process.

    Args:
        server: ``HOST:PORT``.
        authority: The consortium's certificate.
        flower_key: The client's key for Flower.
        app: Trains and evaluates; may be shared.
        members: How many such clients there are.

    Attributes:
        answered: Requests answered so far.
        lost: How often the server was not to be reached.
    """

    server: str
    authority: Path
    flower_key: Path
    identity: Identity
    coordinator: PublicIdentity
    app: ClientApp
    members: int
    answered: int = field(default=0, init=False)
    lost: int = field(default=0, init=False)
    asked_at: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=self.identity.name, daemon=True)

    def start(self) -> None:
        """Serve in a thread until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """End with the next answer; does not wait."""
        self._stopping.set()

    def join(self) -> None:
        """Wait until it has ended."""
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            with suppress(DeploymentError):
                self._serve()
            if not self._stopping.is_set():
                self.lost += 1
                self._stopping.wait(spread(_RETRY_SECONDS))

    def _serve(self) -> None:
        stopping: Callable[[], bool] = self._stopping.is_set
        with connect(self.server, authority=self.authority, flower_key=self.flower_key, stopping=stopping) as fleet:
            polling = Polling(lambda: self.members)
            while not stopping():
                asked = time.monotonic()
                incoming = None
                with suppress(RequestGoneError):
                    incoming = fleet.receive()
                self.asked_at = time.monotonic()
                if incoming is None:
                    self._stopping.wait(polling.pause(self.asked_at - asked))
                    continue
                polling.found()
                with suppress(RequestGoneError):
                    self._answer(fleet, incoming)

    def _answer(self, fleet: Fleet, incoming: Incoming) -> None:
        name = self.identity.name
        request = open_envelope(incoming.content, self.coordinator, destination=name)
        content = unsealed(incoming.content)
        for record in content.values():
            for array in record.values() if isinstance(record, ArrayRecord) else ():
                array.data = array.data or b"".join(map(bytes, incoming.chunks(max_bytes=1 << 30)))
        fleet.confirm(incoming)
        with _TRAINING:
            message = make_message(metadata=incoming.header.metadata, content=content)
            reply = self.app(message, Context(1, id(self), {"name": name}, RecordDict(), {}))
        sealed, _ = seal(
            reply.content,
            request.place,
            identity=self.identity,
            destination=request.source,
            chain_head=_NO_HISTORY,
            in_reply_to=request.nonce,
        )
        fleet.reply(incoming, sealed)
        self.answered += 1
