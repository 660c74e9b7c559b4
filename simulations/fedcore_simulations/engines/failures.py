"""Clients whose own code raises: dropouts, as in a deployment, unless it is the task that has a bug."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from fedcore.errors import FedcoreError, TaskFailedError
from fedcore.messages import EvaluateRequest, TrainRequest
from fedcore_clients.training.local_model import Client, LocalModel
from fedcore_server.rounds.state import Rejection

_log = logging.getLogger("fedcore.simulation")

_AT_FIRST = 5
"""So many clients that fail before any other has succeeded show a bug of the task."""

_Asked = TypeVar("_Asked", TrainRequest, EvaluateRequest)
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A client whose task raised something that is none of fedcore's refusals.

    Attributes:
        kind: Of the exception; its message may hold data.
        trace: Where it was raised.
    """

    client: str
    round: int
    kind: str
    trace: str

    @property
    def error(self) -> TaskFailedError:
        return TaskFailedError(f"{self.client} failed in round {self.round}:\n{self.trace}")

    @property
    def rejection(self) -> Rejection:
        """As a server counts a deployed client that answers with the code ``TASK``."""
        return Rejection(client=self.client, code="REFUSED", reason=f"its task raised {self.kind}: TASK")


def for_client(
    work: Callable[[LocalModel, Client, _Asked], _Answer], local: LocalModel, client: Client, request: _Asked
) -> _Answer | Failure:
    """Train or evaluate.

    Raises:
        FedcoreError: A refusal of fedcore's own, with client and round: it would be the same at every client.
    """
    try:
        return work(local, client, request)
    except FedcoreError as refusal:
        rest: tuple[Any, ...] = refusal.args[1:]  # of the same kind, and whole on its way through a pipe
        refusal.args = (f"{client.name} failed in round {request.round}: {refusal}", *rest)
        raise
    except Exception as error:
        trace = traceback.format_exc(limit=-4)
        return Failure(client=client.name, round=request.round, kind=type(error).__name__, trace=trace)


def without_failures(replies: Iterator[_Answer | Failure]) -> Iterator[_Answer | Rejection]:
    """Hand on the replies, and failures as rejections.

    Raises:
        TaskFailedError: The first few clients failed, or all did: no client is to blame for it.
    """
    first, failed, succeeded = None, 0, False
    for reply in replies:
        if not isinstance(reply, Failure):
            succeeded = True
            yield reply
            continue
        first, failed = first or reply, failed + 1
        if failed >= _AT_FIRST and not succeeded:
            break
        if failed == 1:
            _log.warning(
                "%s is left out of round %d, since its task raised:\n%s", reply.client, reply.round, reply.trace
            )
        yield reply.rejection
    if first is not None and not succeeded:
        raise first.error
