"""The weighted mean, streaming: no server holds all updates.

McMahan et al. 2017, arXiv 1602.05629, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fedcore.aggregation.contract import Block, Rule
from fedcore.parameters import State
from fedcore.storage.large_vectors import add_rows, slices


class Mean(Rule):
    """Updates weighted by the clients' numbers of examples, or as the algorithm weighs them."""

    by_examples = weighs = True

    def begin(self, sizes: Mapping[str, int], state: State) -> WeightedSum:
        return WeightedSum(sizes)


class Uniform(Rule):
    """Every counted client weighs the same, unless the algorithm weighs them."""

    weighs = True

    def begin(self, sizes: Mapping[str, int], state: State) -> WeightedSum:
        return WeightedSum(sizes)

    def sensitivity(self, clip_norm: float) -> float | None:
        """One client moves the sum by at most its clipped norm."""
        return clip_norm


class WeightedSum:
    """Sums in float64, and their divisor."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.totals = {name: torch.zeros(size, dtype=torch.float64) for name, size in sizes.items()}
        self.divisor = 0.0

    def add(self, block: Block) -> None:
        for name, total in self.totals.items():
            add_rows(total, block.vectors[name], block.factors)
        for divisor in block.divisors.tolist():
            self.divisor += divisor

    def finish(self) -> tuple[dict[str, Tensor], State]:
        """The quotients, in the memory of the sums."""
        for total in self.totals.values():
            for (part,) in slices(total):
                part.mul_(0.0) if self.divisor <= 0 else part.div_(self.divisor)
        return self.totals, {}
