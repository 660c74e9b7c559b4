"""What the round loop needs of the clients, simulated or behind Flower."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from fedcore.messages import ClientReport, ClientUpdate, EvaluateRequest, TrainRequest, UpdateBlock
from fedcore_server.rounds.state import Rejection


class Federation(Protocol):
    """Clients the server can call.

    Replies come as they arrive or in the cohort's order, one at a time or in blocks, and are used before the next is
    taken; a client that fails yields a `Rejection` instead.
    """

    def available(self) -> Sequence[str]: ...

    def train(self, request: TrainRequest) -> Iterator[ClientUpdate | UpdateBlock | Rejection]: ...

    def evaluate(self, request: EvaluateRequest) -> Iterator[ClientReport | Rejection]: ...
