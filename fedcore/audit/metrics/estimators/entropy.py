"""How unequally benefits are distributed: generalised entropy and the Theil index, from confusion counts.

Each person's benefit is ``prediction - label + 1``: 0 if wrongly rejected, 2 if wrongly selected, else 1.
Source: Speicher et al. (2018), "A unified approach to quantifying algorithmic unfairness", KDD, arXiv 1807.00787,
eq. 2 (alpha = 2) and its limit at alpha = 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fedcore.audit.metrics.estimates import UNDEFINED, Estimate, normal
from fedcore.audit.statistics.resampling import resampled

Index = Callable[[NDArray[np.int64]], NDArray[np.float64]]
BENEFITS = np.array([0.0, 1.0, 2.0])


def entropy_indices(counts: NDArray[np.int64], *, generator: np.random.Generator) -> dict[str, list[Estimate]]:
    """Return ``{"generalized_entropy": …, "theil_index": …}`` by group, with intervals by bootstrap.

    Counts are rows of benefit 0, 1 and 2, shape (groups, 3). Undefined where nobody has any benefit.
    """
    drawn = resampled(counts, generator=generator, prior=0.5)
    indices: dict[str, Index] = {"generalized_entropy": _entropy, "theil_index": _theil}
    return {
        name: [_estimate(index, own, others) for own, others in zip(counts, drawn, strict=True)]
        for name, index in indices.items()
    }


def _estimate(index: Index, own: NDArray[np.int64], others: NDArray[np.int64]) -> Estimate:
    if not own @ BENEFITS:
        return UNDEFINED
    value = float(index(own))
    defined = others[others @ BENEFITS > 0]
    error = float(index(defined).std())
    return Estimate(value=value, n=int(own.sum()), spread=normal(value, error, within=(0.0, math.inf)))


def _entropy(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return ``mean((b / mean b)^2 - 1) / 2``."""
    n = counts.sum(axis=-1)
    mean = counts @ BENEFITS / n
    return np.asarray((counts @ BENEFITS**2 / n / mean**2 - 1) / 2)


def _theil(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return ``mean(b / mean b log(b / mean b))``, with 0 log 0 = 0."""
    n = counts.sum(axis=-1)
    mean = counts @ BENEFITS / n
    return np.asarray(counts @ np.array([0.0, 0.0, 2 * math.log(2)]) / n / mean - np.log(mean))
