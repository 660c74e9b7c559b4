"""What the round loop needs of the clients, simulated or behind Flower."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from fedcore.messages import ClientReport, ClientUpdate, EvaluateRequest, TrainRequest
from fedcore_server.rounds.state import Rejection


class Federation(Protocol):
    """Clients the server can call.

    Replies come as they arrive or in the cohort's order, and are taken one at a time; a client that fails yields a
    `Rejection` instead.
    """

    def available(self) -> Sequence[str]: ...

    def train(self, request: TrainRequest) -> Iterator[ClientUpdate | Rejection]: ...

    def evaluate(self, request: EvaluateRequest) -> Iterator[ClientReport | Rejection]: ...
