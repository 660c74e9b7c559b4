"""A request that was accepted or refused, and the checks for that besides the policy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Array, RecordDict

from fedcore.errors import RefusedError
from fedcore.refusals import Refusal
from fedcore.storage.events import read_events
from fedcore.storage.mapped_bytes import pieces
from fedcore.wire.envelope import Envelope, Place
from fedcore_clients.agent.home import ClientHome
from fedcore_clients.policy.request_facts import RequestFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """An accepted request.

    Attributes:
        content: The records; the array's bytes are still to be fetched, unless it is small.
        facts: What the policy judged.
        array_bytes: Declared size of the model.
        answer: The signed answer to a request that was answered before.
    """

    envelope: Envelope
    content: RecordDict
    facts: RequestFacts
    array_bytes: int
    answer: RecordDict | None = None


class RequestRefused(Exception):  # noqa: N818 - not an error: the gate does its work
    """A genuine request is refused.

    Attributes:
        cause: With the code that leaves the client, and the reason that does not.
    """

    def __init__(self, envelope: Envelope, cause: RefusedError) -> None:
        self.envelope, self.cause = envelope, cause
        super().__init__(f"{cause.code}: {cause}")


@contextmanager
def refusing(envelope: Envelope, *kinds: type[Exception], code: Refusal = Refusal.FAILED) -> Iterator[None]:
    try:
        yield
    except RefusedError as error:
        raise RequestRefused(envelope, error) from error
    except kinds as error:
        raise RequestRefused(envelope, code(str(error))) from error


def question_of(envelope: Envelope) -> str:
    """The same for requests that ask the same thing, whatever their nonce."""
    return f"{envelope.records_sha256} {envelope.array_sha256}"


def newest_requests(home: ClientHome) -> dict[tuple[str, str], tuple[int, int, int]]:
    """The newest accepted request of each run and kind, from the journal."""
    newest: dict[tuple[str, str], tuple[int, int, int]] = {}
    for event in read_events(home.events):
        if event.get("event") == "accepted":
            order = (event["incarnation"], event["round"], event["attempt"])
            key = (event["run"], event["kind"])
            newest[key] = max(order, newest.get(key, order))
    return newest


def check_model(array: Array, declared_bytes: int) -> None:
    """Check the declared model.

    Raises:
        RefusedError: With the code ``MODEL``.
    """
    if len(array.data) != declared_bytes:
        raise Refusal.MODEL(f"the model received has {len(array.data)} bytes, and not {declared_bytes}")
    for piece in pieces(array.data):
        if not np.isfinite(np.frombuffer(piece, np.dtype(array.dtype))).all():
            raise Refusal.MODEL("the model received holds numbers that are not finite")


def event_fields(place: Place) -> dict[str, Any]:
    return {
        "run": place.run,
        "incarnation": place.incarnation,
        "round": place.round,
        "attempt": place.attempt,
        "kind": place.kind,
    }
