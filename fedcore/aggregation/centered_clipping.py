"""Centred clipping: updates are clipped around what the round before made.

Karimireddy, He and Jaggi 2021, "Learning from history for Byzantine robust optimization", arXiv 2012.10333,
section 4: ``v + mean((x - v) min(1, radius / ‖x - v‖))``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fedcore.aggregation.robust import Robust, Updates
from fedcore.storage.large_vectors import put_aside


class CenteredClipping(Robust):
    """Each client moves the center by at most ``radius / n`` in an iteration.

    Args:
        radius: Largest distance from the center, above 0; about the usual distance between honest updates.
        iterations: How often the center moves in a round, 1 or more.
    """

    remembers = True

    def __init__(self, f: int, radius: float, nnm: bool = False, iterations: int = 1) -> None:
        super().__init__(f, nnm)
        if not 0 < radius < math.inf:
            raise ValueError(f"radius: expected a number above 0, found {radius!r}")
        if isinstance(iterations, bool) or not isinstance(iterations, int) or iterations < 1:
            raise ValueError(f"iterations: expected a whole number of 1 or more, found {iterations!r}")
        self.radius, self.iterations = float(radius), iterations

    def combine(self, updates: Updates, before: Tensor | None) -> Tensor:
        center = updates.combined(lambda part: torch.zeros_like(part[0])) if before is None else put_aside(before)
        for _ in range(self.iterations):
            squared = torch.zeros(len(updates), dtype=torch.float64)
            for where, part in updates.slices():
                squared += (part - center[where]).square_().sum(dim=1)
            factors = (self.radius / squared.sqrt()).clamp(max=1.0) / len(updates)
            for where, part in updates.slices():
                center[where] += factors @ (part - center[where])
        return center
