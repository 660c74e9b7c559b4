"""FedDyn: each client's loss gets a linear and a quadratic term, so that the clients' optima agree with the server's.

Acar et al. 2021, "Federated learning based on dynamic regularization", arXiv 2111.04263, algorithm 1. A client descends
``L(w) - <dual, w> + alpha/2 ‖w - w_received‖²`` and then takes ``alpha (w - w_received)`` from its dual.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fedcore.algorithms.contract import Algorithm, Cohort, Contribution, LocalWork
from fedcore.parameters import State, Tensors
from fedcore.storage.large_vectors import difference

if TYPE_CHECKING:
    from fedcore.plan import RunPlan


class FedDyn(Algorithm):
    """Dynamic regularisation. Each client keeps a dual of its own between rounds; a model's buffers are averaged.

    Guarantee:
        Unit ``client``: the server's state is made of the noisy means, and a dual never leaves its client.

    Args:
        alpha: Strength of the quadratic term, above 0; the paper uses 0.001 to 0.1.
    """

    keeps = ("dual",)

    def __init__(self, alpha: float = 0.1) -> None:
        if not 0 < alpha < math.inf:
            raise ValueError(f"alpha: expected a number above 0, found {alpha!r}")
        self.alpha = float(alpha)

    def weigh(self, contribution: Contribution, state: State, plan: RunPlan) -> tuple[float, float]:
        """All clients weigh the same: otherwise the server's vector drifts away from the mean of the duals."""
        return 1.0, 1.0

    def adjust(self, gradient: Tensor, weights: Tensor, received: Tensor, shared: Tensors, kept: Tensors) -> None:
        gradient.add_(weights - received, alpha=self.alpha).sub_(kept["dual"])

    def finish(
        self, trained: Tensor, received: Tensor, shared: Tensors, kept: Tensors, work: LocalWork
    ) -> tuple[Tensors, Tensors]:
        update = difference(trained, received)
        return {"update": update}, {"dual": kept["dual"] - self.alpha * update}

    def start(self, size: int) -> State:
        return {"h": torch.zeros(size, dtype=torch.float64)}

    def step(self, mean: Tensors, state: State, cohort: Cohort) -> tuple[Tensor, State]:
        h = state["h"] - self.alpha * cohort.share * mean["update"]
        direction = mean["update"].clone()
        direction[: cohort.trained] -= h[: cohort.trained] / self.alpha
        return direction, {"h": h}
