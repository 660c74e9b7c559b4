"""How well scores rank: the area under the ROC curve within a group, and across two groups."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fedcore.audit.metrics.estimates import UNDEFINED, Estimate
from fedcore.audit.statistics.intervals import Interval, normal_quantile

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Areas:
    """The area for the favourable rows of one group over the other rows of another, for all pairs of groups.

    The area is the chance that the one scores higher than the other, ties counted half:
    ``sum_b P_b (N_<b + N_b / 2) / (P N)``; that of ties is ``sum_b P_b N_b / (P N)``, so that half of it either
    way bounds the area whatever the order within a point. Source: Hanley and McNeil (1982), Radiology
    143:29-36; for bins Cormode and Markov (2022), arXiv 2210.12526; across groups ("xAUC") Kallus and Zhou
    (2019), arXiv 1902.05826.

    Attributes:
        won: Pairs in which the favourable row scores higher, float64 of shape (groups, groups).
        tied: Pairs at one point.
        spread: Variance of the area by DeLong, NaN where a label has fewer than two rows.
    """

    won: NDArray[np.float64]
    tied: NDArray[np.float64]
    spread: NDArray[np.float64]
    positives: tuple[int, ...]
    negatives: tuple[int, ...]
    exact: bool

    @classmethod
    def of(cls, counts: Counts, *, exact: bool) -> Self:
        """Count the pairs; exact up to 2^53 of them.

        Args:
            counts: Rows by group, label and point of rising score, shape (groups, 2, points).
            exact: Whether all rows of a point have one score.
        """
        above, below = counts[:, 1].astype(np.float64), counts[:, 0].astype(np.float64)
        return cls(
            won=above @ (np.cumsum(below, axis=1) - below).T,
            tied=above @ below.T,
            spread=_delong(above, below),
            positives=tuple(above.sum(axis=1).astype(np.int64).tolist()),
            negatives=tuple(below.sum(axis=1).astype(np.int64).tolist()),
            exact=exact,
        )

    @property
    def pooled(self) -> float | None:
        pairs = float(sum(self.positives)) * float(sum(self.negatives))
        return float((self.won + self.tied / 2).sum()) / pairs if pairs else None

    def bounds(self, a: int, b: int) -> tuple[float, float, float] | None:
        """Return the area of group a's favourable rows over b's others, its least and its greatest value."""
        pairs = float(self.positives[a]) * float(self.negatives[b])
        if not pairs:
            return None
        won, tied = float(self.won[a, b]), float(self.tied[a, b])
        return (won + tied / 2) / pairs, won / pairs, (won + tied) / pairs

    def estimate(self, a: int, b: int) -> Estimate:
        """Return the area with its interval, widened by its bounds where points are bins; undefined without rows."""
        found = self.bounds(a, b)
        if found is None:
            return UNDEFINED
        value, least, greatest = found
        low, high = (value, value) if self.exact else (least, greatest)
        sizes = self.positives[a], self.negatives[b]
        wider = self._wider(a, b, value)

        def ends(confidence: float) -> Interval:
            return Interval(
                low=area_interval(low, *sizes, confidence=confidence, wider=wider).low,
                high=area_interval(high, *sizes, confidence=confidence, wider=wider).high,
            )

        return Estimate(value=value, n=sum(sizes), spread=ends)

    def _wider(self, a: int, b: int, value: float) -> float:
        """Return by how much DeLong's variance exceeds the one that the interval assumes, or 1."""
        assumed = _variance(value, self.positives[a], self.negatives[b])
        found = float(self.spread[a, b])
        return max(1.0, found / assumed) if assumed > 0 and math.isfinite(found) else 1.0


def area_interval(
    value: float, num_positive: int, num_negative: int, *, confidence: float, wider: float = 1.0
) -> Interval:
    """Return the score interval of an area: the areas within z standard errors of it.

    Unlike the usual one it has positive length for a perfect ranking. Its variance at an area A is
    ``A (1 - A) (1 + M (1 - A) / (2 - A) + M A / (1 + A)) / (m n)`` with M = (m + n) / 2 - 1, which is too small
    where the scores of the labels spread very differently; it is then made ``wider``.
    Source: Newcombe, R. G. (2006), "Confidence intervals for an effect size measure based on the
    Mann-Whitney statistic, part 2", Stat. Med. 25:559-573, method 5.
    """
    z = normal_quantile(confidence)

    def error(a: float) -> float:
        return math.sqrt(wider * _variance(a, num_positive, num_negative))

    # Of a perfect ranking the estimate itself is a root, too; the one that is meant is further out.
    return Interval(
        low=_crossing(lambda a: value - a - z * error(a), 0.0, max(0.0, value - 1e-9)),
        high=_crossing(lambda a: a - value - z * error(a), 1.0, min(1.0, value + 1e-9)),
    )


def _variance(a: float, num_positive: int, num_negative: int) -> float:
    mean = (num_positive + num_negative) / 2 - 1
    return a * (1 - a) * (1 + mean * (1 - a) / (2 - a) + mean * a / (1 + a)) / (num_positive * num_negative)


def _delong(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the variance of every area, shape (groups, groups).

    Source: DeLong, DeLong and Clarke-Pearson (1988), Biometrics 44:837-845, from counts.
    """
    m, n = above.sum(axis=1, keepdims=True), below.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        under = (np.cumsum(below, axis=1) - below / 2) / n
        over = 1 - (np.cumsum(above, axis=1) - above / 2) / m
        area = above @ under.T / m
        of_positives = (above @ (under**2).T / m - area**2) / (m - 1)
        of_negatives = (over**2 @ below.T / n.T - area**2) / (n.T - 1)
        return np.asarray(of_positives + of_negatives)


def _crossing(surplus: Callable[[float], float], outer: float, inner: float) -> float:
    """Return where the surplus is 0 between ``outer`` (surplus above 0) and ``inner``."""
    from scipy.optimize import brentq

    if surplus(outer) <= 0 or surplus(inner) >= 0:
        return outer if surplus(outer) <= 0 else inner
    return float(brentq(surplus, outer, inner, xtol=1e-12))
