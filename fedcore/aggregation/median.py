"""The coordinate-wise median.

Yin et al. 2018, "Byzantine-robust distributed learning", arXiv 1803.01498, definition 1.
"""

from __future__ import annotations

from torch import Tensor

from fedcore.aggregation.robust import Robust, Updates


class Median(Robust):
    """The median of each coordinate; of an even number of updates the mean of the middle two."""

    def combine(self, updates: Updates, before: Tensor | None) -> Tensor:
        middle = slice((len(updates) - 1) // 2, len(updates) // 2 + 1)
        return updates.combined(lambda part: part.sort(dim=0).values[middle].mean(dim=0))
