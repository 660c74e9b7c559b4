"""What the round loop needs of the clients, whoever they are: simulated, or behind Flower."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from fedcore.messages import ClientReport, ClientUpdate, EvaluateRequest, TrainRequest
from fedcore_server.rounds.state import Rejection


class Federation(Protocol):
    """Clients that can be asked.

    Replies come as they arrive or in the cohort's order, and are taken one at a time; a client that fails
    yields a `Rejection` in place of its reply.
    """

    def available(self) -> Sequence[str]:
        """Names of the clients that could be asked now."""

    def train(self, request: TrainRequest) -> Iterator[ClientUpdate | Rejection]:
        """Ask the cohort to train."""

    def evaluate(self, request: EvaluateRequest) -> Iterator[ClientReport | Rejection]:
        """Ask the cohort to evaluate."""
