"""The coordinate-wise trimmed mean: in each coordinate the largest and the smallest values are left out.

Yin et al. 2018, "Byzantine-robust distributed learning", arXiv 1803.01498, definition 2. With ``n`` updates,
``floor(share * n)`` are left out at each end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fedcore.aggregation.contract import Block, Rule
from fedcore.parameters import State
from fedcore.storage.large_vectors import let_go_of, put_aside, scratch

if TYPE_CHECKING:
    from fedcore.plan import RunPlan

_SLICE_NUMBERS = 2**21
"""Numbers that are sorted at once, of all updates together."""


class TrimmedMean(Rule):
    """A robust rule, not a sum: all updates of a round are kept, in mapped memory.

    Args:
        share: Share left out at each end, below 1/2.
    """

    streams = False

    def __init__(self, share: float = 0.1) -> None:
        if not 0 < share < 0.5:
            raise ValueError(f"share: expected a number between 0 and 0.5, found {share!r}")
        self.share = float(share)

    def check(self, plan: RunPlan) -> Iterator[str]:
        if left_out(self.share, plan.federation.quorum) == 0:
            needed = math.ceil(1 / self.share)
            yield (
                f"with share {self.share:g} none of fewer than {needed} updates is left out, and federation.quorum is "
                f"{plan.federation.quorum}; set it to {needed} or more"
            )

    def begin(self, sizes: Mapping[str, int], state: State) -> _Kept:
        return _Kept(sizes, self.share)


class _Kept:
    def __init__(self, sizes: Mapping[str, int], share: float) -> None:
        self._sizes, self._share = sizes, share
        self._rows: dict[str, list[Tensor]] = {name: [] for name in sizes}

    def add(self, block: Block) -> None:
        for name, rows in self._rows.items():
            rows += [put_aside(row) for row in block.vectors[name]]

    def finish(self) -> tuple[dict[str, Tensor], State]:
        return {name: self._trimmed(name, rows) for name, rows in self._rows.items()}, {}

    def _trimmed(self, name: str, rows: list[Tensor]) -> Tensor:
        combined, count = scratch(self._sizes[name], torch.float64), left_out(self._share, len(rows))
        step = max(1, _SLICE_NUMBERS // max(1, len(rows)))
        for start in range(0, len(combined), step) if rows else ():
            part = torch.stack([row[start : start + step] for row in rows]).to(torch.float64)
            ordered = part.sort(dim=0).values
            combined[start : start + step] = ordered[count : len(rows) - count].mean(dim=0)
            let_go_of(combined, *rows)
        return combined


def left_out(share: float, updates: int) -> int:
    """Updates left out at each end; 0.29 of 100 are 29, although the product is a little less."""
    return math.floor(share * updates + 1e-9)
