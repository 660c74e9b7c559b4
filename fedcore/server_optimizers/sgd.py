"""FedAvgM: ``m = momentum * m + update``; momentum 0 is FedAvg. Hsu et al. 2019, arXiv 1909.06335."""

from __future__ import annotations

import torch
from torch import Tensor

from fedcore.parameters import State
from fedcore.server_optimizers.contract import ServerOptimizer, check_decay


class Sgd(ServerOptimizer):
    """Server SGD."""

    def __init__(self, momentum: float = 0.0) -> None:
        self.momentum = check_decay("momentum", momentum)

    def step(self, update: Tensor, state: State) -> tuple[Tensor, State]:
        if self.momentum == 0.0:
            return update, {}
        momentum = self.momentum * state.get("momentum", torch.zeros_like(update)) + update
        return momentum, {"momentum": momentum}
