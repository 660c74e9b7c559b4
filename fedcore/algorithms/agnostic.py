"""Agnostic federated learning: the client with the largest loss gets a larger share of the mean.

Mohri, Sivek and Suresh 2019, arXiv 1902.00146, algorithm 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedcore.algorithms.client_shares import ClientShares
from fedcore.algorithms.contract import Evaluated
from fedcore.algorithms.simplex import ascended, check_step
from fedcore.parameters import State

if TYPE_CHECKING:
    from fedcore.plan import RunPlan


class Agnostic(ClientShares):
    def __init__(self, step: float = 0.1) -> None:
        self.step_size = check_step(step)

    def learn(self, state: State, evaluation: Evaluated, plan: RunPlan) -> State:
        equal = {name: 1.0 / len(evaluation.clients) for name in evaluation.clients}
        losses = {name: means["loss"] for name, means in evaluation.clients.items() if "loss" in means}
        return {"clients": ascended(state["clients"] or equal, losses, step=self.step_size)}
