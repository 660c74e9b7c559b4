"""Shuffled rows in unequal shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fedcore_simulations.partition.contract import Owner, Rows
from fedcore_simulations.partition.cut import cut

if TYPE_CHECKING:
    from fedcore.data.examples import Examples

_SIGMA = 1.0


class Sizes:
    """Shares from a log-normal distribution with σ = 1."""

    remedy = "more rows"

    def __init__(self, distribution: str) -> None:
        if distribution != "lognormal":
            raise ValueError(f"expected sizes:lognormal, found {distribution!r}")

    def names(self, examples: Examples) -> None:
        return None

    def deal(self, rows: Rows, generator: np.random.Generator) -> Owner:
        order = generator.permutation(len(rows))
        sizes = generator.lognormal(0.0, _SIGMA, rows.clients)
        return cut(order, sizes / sizes.sum())
