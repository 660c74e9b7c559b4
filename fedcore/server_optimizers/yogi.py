"""FedYogi: ``v = v - (1 - β₂) Δ² sign(v - Δ²)``. Reddi et al. 2021, arXiv 2003.00295, algorithm 2."""

from __future__ import annotations

from torch import Tensor

from fedcore.server_optimizers.adam import Adam


class Yogi(Adam):
    """Server Yogi; options as for `Adam`."""

    def second_moment(self, second: Tensor, update: Tensor) -> Tensor:
        square = update.square()
        return second - (1 - self.betas[1]) * square * (second - square).sign()
