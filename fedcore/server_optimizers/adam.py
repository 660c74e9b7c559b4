"""FedAdam: ``m = β₁ m + (1 - β₁) Δ``, ``v = β₂ v + (1 - β₂) Δ²``; the step is ``m / (√v + τ)``, and v starts at τ².

Reddi et al. 2021, "Adaptive federated optimization", arXiv 2003.00295, algorithm 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fedcore.parameters import State
from fedcore.server_optimizers.contract import ServerOptimizer, check_decay


class Adam(ServerOptimizer):
    """Server Adam.

    Args:
        betas: Decay of the first and second moment.
        adaptivity: τ, the floor under the second moment's root.
    """

    def __init__(self, betas: Sequence[float] = (0.9, 0.99), adaptivity: float = 1e-3) -> None:
        if len(betas) != 2:
            raise ValueError(f"betas: expected two numbers, found {betas!r}")
        if not 0 < adaptivity < math.inf:
            raise ValueError(f"adaptivity: expected a number above 0, found {adaptivity!r}")
        self.betas = check_decay("betas", betas[0]), check_decay("betas", betas[1])
        self.adaptivity = float(adaptivity)

    def step(self, update: Tensor, state: State) -> tuple[Tensor, State]:
        first_decay = self.betas[0]
        first = first_decay * state.get("first", torch.zeros_like(update)) + (1 - first_decay) * update
        second = self.second_moment(state.get("second", torch.full_like(update, self.adaptivity**2)), update)
        return first / (second.sqrt() + self.adaptivity), {"first": first, "second": second}

    def second_moment(self, second: Tensor, update: Tensor) -> Tensor:
        decay = self.betas[1]
        return decay * second + (1 - decay) * update.square()
