"""How well scores rank: the area under the ROC curve within a group, and across two groups."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fedcore.audit.estimates import UNDEFINED, Estimate
from fedcore.audit.intervals import Interval, normal_quantile

Counts = NDArray[np.int64]


def area_bounds(positives: Counts, negatives: Counts) -> tuple[float, float, float] | None:
    """Return the area with ties counted half, and its least and greatest value whatever the order in a point.

    The area is the chance that a row of the favourable label scores higher than one of the other:
    ``sum_b P_b (N_<b + N_b / 2) / (P N)``; that of ties is ``sum_b P_b N_b / (P N)``, half of it either way.
    Source: Hanley and McNeil (1982), Radiology 143:29-36; for bins Cormode and Markov (2022),
    arXiv 2210.12526.

    Args:
        positives: Rows of the favourable label at each point of rising score, shape (points,).
        negatives: Rows of the other label.

    Returns:
        (area, least, greatest), or None without rows of both labels.
    """
    pairs = float(positives.sum()) * float(negatives.sum())
    if not pairs:
        return None
    above, below = positives.astype(np.float64), negatives.astype(np.float64)
    ties = float(above @ below)
    won = float(above @ (np.cumsum(below) - below))
    return (won + ties / 2) / pairs, won / pairs, (won + ties) / pairs


def area(positives: Counts, negatives: Counts, *, exact: bool) -> Estimate:
    """Return the area with its interval, which is widened by the bounds where points are bins of scores.

    Positives and negatives may be of two groups ("xAUC": Kallus and Zhou 2019, arXiv 1902.05826).

    Args:
        positives: As for ``area_bounds``.
        negatives: As for ``area_bounds``.
        exact: Whether all rows of a point have one score.
    """
    found = area_bounds(positives, negatives)
    if found is None:
        return UNDEFINED
    value, least, greatest = found
    sizes = int(positives.sum()), int(negatives.sum())

    def ends(confidence: float) -> Interval:
        low, high = (value, value) if exact else (least, greatest)
        return Interval(
            low=area_interval(low, *sizes, confidence=confidence).low,
            high=area_interval(high, *sizes, confidence=confidence).high,
        )

    return Estimate(value=value, n=sum(sizes), spread=ends)


def area_interval(value: float, num_positive: int, num_negative: int, *, confidence: float) -> Interval:
    """Return the score interval of an area: the areas that it is no more than z standard errors away from.

    Unlike the usual one it is no point where the ranking is perfect. The variance at an area A is
    ``A (1 - A) (1 + M (1 - A) / (2 - A) + M A / (1 + A)) / (m n)`` with M = (m + n) / 2 - 1.
    Source: Newcombe, R. G. (2006), "Confidence intervals for an effect size measure based on the
    Mann-Whitney statistic, part 2", Stat. Med. 25:559-573, method 5.
    """
    z = normal_quantile(confidence)
    mean = (num_positive + num_negative) / 2 - 1

    def error(a: float) -> float:
        inner = 1 + mean * (1 - a) / (2 - a) + mean * a / (1 + a)
        return math.sqrt(a * (1 - a) * inner / (num_positive * num_negative))

    # Of a perfect ranking the estimate itself is a root, too; the one that is meant is further out.
    return Interval(
        low=_crossing(lambda a: value - a - z * error(a), 0.0, max(0.0, value - 1e-9)),
        high=_crossing(lambda a: a - value - z * error(a), 1.0, min(1.0, value + 1e-9)),
    )


def _crossing(surplus: Callable[[float], float], outer: float, inner: float) -> float:
    """Return where the surplus is 0 between ``outer``, where it is over 0, and ``inner``."""
    from scipy.optimize import brentq

    if surplus(outer) <= 0 or surplus(inner) >= 0:
        return outer if surplus(outer) <= 0 else inner
    return float(brentq(surplus, outer, inner, xtol=1e-12))
