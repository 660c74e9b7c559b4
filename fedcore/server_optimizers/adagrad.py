"""FedAdagrad: ``v = v + Δ²``, without a first moment. Reddi et al. 2021, arXiv 2003.00295, algorithm 2."""

from __future__ import annotations

from torch import Tensor

from fedcore.server_optimizers.adam import Adam


class Adagrad(Adam):
    """Server Adagrad.

    Args:
        adaptivity: τ, the floor under the second moment's root.
    """

    def __init__(self, adaptivity: float = 1e-3) -> None:
        super().__init__((0.0, 0.0), adaptivity)

    def second_moment(self, second: Tensor, update: Tensor) -> Tensor:
        return second + update.square()
