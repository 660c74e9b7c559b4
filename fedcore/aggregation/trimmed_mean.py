"""The coordinate-wise trimmed mean: in each coordinate the largest and the smallest values are left out.

Yin et al. 2018, "Byzantine-robust distributed learning", arXiv 1803.01498, definition 2. With ``n`` updates,
``floor(share * n)`` are left out at each end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import Tensor

from fedcore.aggregation.robust import Robust, Updates, checked

if TYPE_CHECKING:
    from fedcore.plan import RunPlan


class TrimmedMean(Robust):
    """The mean of the values in the middle.

    Args:
        share: Share left out at each end, below 1/2; the hostile clients that are tolerated.
        nnm: As in `Robust`.
    """

    def __init__(self, share: float = 0.1, nnm: bool = False) -> None:
        if not 0 < share < 0.5:
            raise ValueError(f"share: expected a number between 0 and 0.5, found {share!r}")
        self.share, self.nnm = float(share), checked(nnm)

    @property
    def least(self) -> int:
        return 1

    def attackers(self, updates: int) -> int:
        return left_out(self.share, updates)

    def check(self, plan: RunPlan) -> Iterator[str]:
        if left_out(self.share, plan.federation.quorum) == 0:
            needed = math.ceil(1 / self.share)
            yield (
                f"with share {self.share:g} none of fewer than {needed} updates is left out, and federation.quorum is "
                f"{plan.federation.quorum}; set it to {needed} or more"
            )

    def combine(self, updates: Updates, before: Tensor | None) -> Tensor:
        middle = slice(count := self.attackers(len(updates)), len(updates) - count)
        return updates.combined(lambda part: part.sort(dim=0).values[middle].mean(dim=0))


def left_out(share: float, updates: int) -> int:
    """Updates left out at each end; 0.29 of 100 are 29, although the product is a little less."""
    return math.floor(share * updates + 1e-9)
