"""The geometric median: the point with the least sum of distances to the updates.

Pillutla, Kakade and Harchaoui 2022, "Robust aggregation for federated learning", arXiv 1912.13445, algorithm 2: the
smoothed Weiszfeld iteration. Every point of it is a mean of the updates with weights ``w``, whose squared distances to
them are ``D w - w'D w / 2`` by the squared distances ``D`` between updates, so that an iteration reads no update.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fedcore.aggregation.robust import Robust, Updates

_ITERATIONS, _STILL = 1000, 1e-12


class GeometricMedian(Robust):
    """The smoothed geometric median, iterated until it stands still.

    Args:
        smoothing: Distances count as at least this, above 0.
    """

    def __init__(self, f: int, nnm: bool = False, smoothing: float = 1e-6) -> None:
        super().__init__(f, nnm)
        if not 0 < smoothing < math.inf:
            raise ValueError(f"smoothing: expected a number above 0, found {smoothing!r}")
        self.smoothing = float(smoothing)

    def combine(self, updates: Updates, before: Tensor | None) -> Tensor:
        weights = self._weights(updates.squared_distances())
        return updates.combined(lambda part: weights @ part)

    def _weights(self, squared: Tensor) -> Tensor:
        weights = torch.full((len(squared),), 1.0 / len(squared), dtype=torch.float64)
        for _ in range(_ITERATIONS):
            crossed = squared @ weights
            distances = (crossed - weights @ crossed / 2).clamp(min=0.0).sqrt()
            new = 1.0 / distances.clamp(min=self.smoothing)
            new /= new.sum()
            moved, weights = float((new - weights).abs().max()), new
            if moved < _STILL:
                break
        return weights
