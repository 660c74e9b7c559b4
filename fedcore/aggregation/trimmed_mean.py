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

from fedcore.aggregation.contract import Block, Rule, State
from fedcore.storage.large_vectors import put_aside, scratch, slices

if TYPE_CHECKING:
    from fedcore.plan import RunPlan


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
        needed = math.ceil(1 / self.share)
        if plan.federation.quorum < needed:
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
        combined = scratch(self._sizes[name], torch.float64)
        left_out = math.floor(self._share * len(rows))
        for result, *values in slices(combined, *rows) if rows else ():
            ordered = torch.stack(values).to(torch.float64).sort(dim=0).values
            result.copy_(ordered[left_out : len(rows) - left_out].mean(dim=0))
        return combined
