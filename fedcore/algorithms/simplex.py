"""Ascent on the probability simplex: shares that follow a risk."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

_LARGEST_RISK = 1e12
"""Losses are reported by clients, and a huge one must not end the run."""


def ascended(shares: Mapping[str, float], risks: Mapping[str, float], *, step: float) -> dict[str, float]:
    """One step of ascent on ``sum share * risk`` over the simplex: larger shares for larger risks.

    Mohri, Sivek and Suresh 2019, "Agnostic federated learning", arXiv 1902.00146, algorithm 1, for clients; Papadaki
    et al. 2022, "Minimax demographic group fairness in federated learning", arXiv 2201.08304, for groups.
    Shares are non-negative with sum 1. A share without a risk is unchanged before the projection.
    """
    moved = np.array([share + step * min(risks.get(name, 0.0), _LARGEST_RISK) for name, share in shares.items()])
    return dict(zip(shares, (float(share) for share in projected(moved)), strict=True))


def projected(point: NDArray[np.float64]) -> NDArray[np.float64]:
    """The point of the probability simplex nearest to `point`, shape (n,).

    Duchi et al. 2008, "Efficient projections onto the l1-ball for learning in high dimensions", figure 1.
    """
    falling = np.sort(point)[::-1]
    surplus = (np.cumsum(falling) - 1.0) / np.arange(1, len(point) + 1)
    above = np.flatnonzero(falling > surplus)
    if not len(above):  # there is no point, or 1 is less than the rounding of its numbers
        return projected(point - point.max()) if len(point) else point
    last = int(above[-1])
    nearest: NDArray[np.float64] = np.maximum(point - surplus[last], 0.0)
    return nearest


def check_step(step: float) -> float:
    """Return a step size of 0 or more; raises `ValueError` otherwise."""
    if not 0 <= step < math.inf:
        raise ValueError(f"step: expected a number of 0 or more, found {step!r}")
    return float(step)
