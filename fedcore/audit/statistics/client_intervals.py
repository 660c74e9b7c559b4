"""Intervals of figures over clients: the clients are fixed, the rows of each a sample.

An interval that holds for one rate need not hold for a figure of many small ones. Each interval here is rather too
long than too short; that of their mean is in ``mean_rates``.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fedcore.audit.statistics.intervals import Interval, exact_interval
from fedcore.audit.statistics.mean_rates import mean_interval
from fedcore.audit.statistics.resampling import NUM_DRAWS, SEED, upper_quantile

CLIENT_METHODS = {
    "mean of clients": "score interval with the largest variance that clients of that mean can have",
    "worst tenth of clients": "Clopper-Pearson intervals of all clients at once, Bonferroni (Dunn 1961)",
    "Gini coefficient of clients": "parametric bootstrap of the mean difference, over the interval of the mean",
}

Counts = NDArray[np.int64]

_PRIOR = 0.5
"""Successes and failures added to each client's before others are drawn, so that 0 % and 100 % may vary (Jeffreys)."""
_MOST_DRAWN, _FEWEST_DRAWS = 4_000_000, 400


def worst_decile(rates: NDArray[np.float64]) -> float:
    """Return the mean of the lowest tenth of the rates, at least one."""
    last = np.sort(rates)[: math.ceil(len(rates) / 10)]
    return math.fsum(last) / len(last)


def worst_decile_interval(successes: Counts, rows: Counts, *, confidence: float) -> Interval:
    """Return the interval of the worst decile; arguments as of `mean_interval`.

    It rises with every client's rate, so that the ends of intervals that hold for all clients together give the ends of
    its own. They are exact ones (Clopper and Pearson 1934): at such confidence Wilson's are too short near 0 and 100 %.
    """
    each = 1 - (1 - confidence) / len(rows)
    ends = [exact_interval(int(k), int(n), confidence=each) for k, n in zip(successes, rows, strict=True)]
    return Interval(
        low=worst_decile(np.array([end.low for end in ends])), high=worst_decile(np.array([end.high for end in ends]))
    )


def mean_difference(rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``sum_ij |x_i - x_j| / n^2`` over the last axis."""
    n, rising = rates.shape[-1], np.sort(rates, axis=-1)
    places = 2 * np.arange(n) - n + 1
    found: NDArray[np.float64] = 2 * (rising * places).sum(axis=-1) / n**2
    return found


def gini_interval(successes: Counts, rows: Counts, *, confidence: float) -> Interval:
    """Return the interval of the Gini coefficient, D / (2 mean) with the mean difference D; arguments as before.

    D is a seminorm, so that D of the estimates is off by at most D of their errors, also where all clients are
    alike. A parametric bootstrap has the quantile of that; half of the error is for D, and half for the mean.
    Source: Efron, B. and Tibshirani, R. (1993), "An introduction to the bootstrap", ch. 6.5.
    """
    half = (1 + confidence) / 2
    found, mean = float(mean_difference(successes / rows)), mean_interval(successes, rows, confidence=half)
    away = upper_quantile(mean_difference(_errors(successes, rows)), half)
    most = 1.0 - 1.0 / len(rows)
    high = (found + away) / (2 * mean.low) if mean.low > 0 else most
    return Interval(low=max(0.0, found - away) / (2 * mean.high), high=min(most, high))


def _errors(successes: Counts, rows: Counts) -> NDArray[np.float64]:
    """Return bootstrap errors of the rates, shape (draws, clients)."""
    generator = np.random.default_rng(SEED)
    shares = (successes + _PRIOR) / (rows + 2 * _PRIOR)
    draws = min(NUM_DRAWS, max(_FEWEST_DRAWS, _MOST_DRAWN // len(rows)))
    drawn = generator.binomial(rows, shares, size=(draws, len(rows)))
    found: NDArray[np.float64] = drawn / rows - shares
    return found
