"""Each class in shares from a Dirichlet distribution: Hsu et al. 2019, arXiv 1909.06335."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fedcore_simulations.partition.contract import Owner, Rows
from fedcore_simulations.partition.cut import cut

if TYPE_CHECKING:
    from fedcore.data.examples import Examples


class Dirichlet:
    """The smaller `alpha`, the concentration, the more do classes differ between clients."""

    remedy = "a larger concentration"

    def __init__(self, alpha: float) -> None:
        if not isinstance(alpha, int | float) or not 0 < alpha < math.inf:
            raise ValueError(f"expected dirichlet:A with a number A > 0, found {alpha!r}")
        self._alpha = alpha

    def names(self, examples: Examples) -> None:
        return None

    def deal(self, rows: Rows, generator: np.random.Generator) -> Owner:
        classes = rows.classes
        owner = np.empty(len(classes), dtype=np.int64)
        for label in np.unique(classes):
            mine = generator.permutation(np.flatnonzero(classes == label))
            owner[mine] = cut(np.arange(len(mine)), generator.dirichlet(np.full(rows.clients, self._alpha)))
        return owner
