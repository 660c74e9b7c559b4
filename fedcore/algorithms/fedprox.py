"""FedProx: each step is pulled towards the received model, by the gradient of ``mu/2 ‖w - w_received‖²``.

Li et al. 2020, arXiv 1812.06127, equation 2.
"""

from __future__ import annotations

import math

from torch import Tensor

from fedcore.algorithms.contract import Algorithm
from fedcore.parameters import Tensors


class FedProx(Algorithm):
    """Federated averaging with a proximal term.

    Args:
        mu: Strength of the pull, not negative; 0 is FedAvg.
    """

    def __init__(self, mu: float = 0.1) -> None:
        if not 0 <= mu < math.inf:
            raise ValueError(f"mu: expected a number of 0 or more, found {mu!r}")
        self.mu = float(mu)

    def adjust(self, gradient: Tensor, weights: Tensor, received: Tensor, shared: Tensors, kept: Tensors) -> None:
        gradient.add_(weights - received, alpha=self.mu)
