"""q-FedAvg: a client's update is weighted by the q-th power of its loss.

Li et al. 2020, "Fair resource allocation in federated learning", arXiv 1905.10497, algorithm 2: with ``F`` the loss,
``d`` the update and ``L`` the reciprocal of the clients' learning rate, the model moves by
``sum F^q L d / sum (q F^(q-1) L² ‖d‖² + L F^q)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedcore.algorithms.client_shares import ClientShares, share_of
from fedcore.algorithms.contract import Contribution, Evaluated
from fedcore.parameters import State
from fedcore.schedules.learning_rate import learning_rate

if TYPE_CHECKING:
    from fedcore.plan import RunPlan

_SMALLEST_LOSS, _LARGEST_LOSS, _LARGEST_Q = 1e-12, 1e12, 10.0


class QFedAvg(ClientShares):
    """Clients weighed by their losses.

    Args:
        q: Exponent from 0 to 10; 0 is the uniform mean.
    """

    def __init__(self, q: float = 0.1) -> None:
        if not 0 <= q <= _LARGEST_Q:
            raise ValueError(f"q: expected a number from 0 to {_LARGEST_Q:g}, found {q!r}")
        self.q = float(q)

    def learn(self, state: State, evaluation: Evaluated, plan: RunPlan) -> State:
        return {"clients": {name: means["loss"] for name, means in evaluation.clients.items() if "loss" in means}}

    def weigh(self, contribution: Contribution, state: State, plan: RunPlan) -> tuple[float, float]:
        if not state["clients"]:
            return super().weigh(contribution, state, plan)
        smoothness = 1.0 / learning_rate(plan, contribution.round)
        loss = min(max(share_of(contribution.client, state["clients"]), _SMALLEST_LOSS), _LARGEST_LOSS)
        weight = smoothness * loss**self.q
        bent = self.q * loss ** (self.q - 1.0) * (smoothness * contribution.norm) ** 2
        return weight, weight + bent
