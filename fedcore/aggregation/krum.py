"""Krum and Multi-Krum: the updates that are nearest to their neighbours.

Blanchard et al. 2017, "Machine learning with adversaries", NeurIPS. A score is the sum of squared distances to the
nearest updates: ``n - f`` with the update itself, as in Allouah et al. 2023 (arXiv 2302.01772) and byzfl, one more than
in the first paper.
"""

from __future__ import annotations

from torch import Tensor

from fedcore.aggregation.robust import Robust, Updates


class Krum(Robust):
    """The update with the lowest score."""

    more = 3

    def combine(self, updates: Updates, before: Tensor | None) -> Tensor:
        return self._mean_of_best(updates, 1)

    def _mean_of_best(self, updates: Updates, count: int) -> Tensor:
        nearest = updates.squared_distances().sort(dim=1).values[:, : len(updates) - self.f]
        best = nearest.sum(dim=1).argsort(stable=True)[:count]
        return updates.combined(lambda part: part[best].mean(dim=0))


class MultiKrum(Krum):
    """The mean of the ``n - f`` updates with the lowest scores."""

    def combine(self, updates: Updates, before: Tensor | None) -> Tensor:
        return self._mean_of_best(updates, len(updates) - self.f)
