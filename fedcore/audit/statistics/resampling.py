"""The parametric bootstrap on counts: possible counts of other samples of the same size.

Source: Efron, B. and Tibshirani, R. (1993), "An introduction to the bootstrap", ch. 6.5. Counts of rows drawn
independently are multinomial, so that resampling counts is resampling rows, at a cost that does not grow with
them.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

NUM_DRAWS = 2000
SEED = 0
"""Of the draws: the same counts give the same intervals."""


def resampled(
    counts: NDArray[np.int64], *, generator: np.random.Generator, draws: int = NUM_DRAWS, prior: float = 0.0
) -> NDArray[np.int64]:
    """Return int64 bootstrap samples of shape (groups, draws, cells), from counts of shape (groups, cells).

    Each sample has as many rows as its group; zeros for a group without rows. ``prior`` is added to each cell before
    its share is formed, so that a cell without rows is not taken as impossible.
    """
    groups, cells = counts.shape
    drawn = np.zeros((groups, draws, cells), dtype=np.int64)
    for group, row in enumerate(counts):
        total = int(row.sum())
        if total:
            shares = (row + prior) / (total + prior * cells)
            drawn[group] = generator.multinomial(total, shares / shares.sum(), size=draws)
    return drawn


def upper_quantile(draws: NDArray[np.float64], confidence: float) -> float:
    """Return the value that a distance exceeds with chance ``1 - confidence``.

    Above 99 %, where draws are few, it is extrapolated with a normal tail, ``exp(-k x^2)``.
    """
    within = min(confidence, 0.99)
    found = float(np.quantile(draws, within, method="higher"))
    return found * math.sqrt(math.log(1 - confidence) / math.log(1 - within))
