"""How far predicted numbers are from what they should be, by group, with intervals, from sums alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcore.audit.estimates import UNDEFINED, VALUE_MEASURES, Estimate
from fedcore.audit.intervals import Interval, student_quantile
from fedcore.audit.scores import ScoreTable
from fedcore.audit.values import SUMS, ValueTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Means over the rows of one group, of target t in [0, 1] and error e in [-1, 1], in units of the range.

    Attributes:
        n: Rows.
        low: Least target.
        width: Greatest less least target.
        of: Mean of each of ``values.SUMS``.
    """

    n: int
    low: float
    width: float
    of: dict[str, float]

    def estimates(self) -> dict[str, Estimate]:
        """Return every measure, in the target's own unit; undefined of fewer than two rows."""
        if self.n < 2:
            return dict.fromkeys(VALUE_MEASURES, UNDEFINED)
        mean, width = self.of, self.width
        prediction = mean["target"] + mean["error"]
        squares = mean["target_2"] + 2 * mean["error_target"] + mean["error_2"]
        error = Sample(self.n, mean["error"], mean["error_2"], mean["error_3"])
        absolute = Sample(self.n, mean["absolute_error"], mean["error_2"], mean["absolute_error_3"])
        square = Sample(self.n, mean["error_2"], mean["error_4"], mean["error_6"])
        return {
            "mean_prediction": _linear(Sample(self.n, prediction, squares).mean(), width, self.low),
            "mean_target": _linear(Sample(self.n, mean["target"], mean["target_2"]).mean(), width, self.low),
            "mean_error": _linear(error.mean(), width),
            "mean_absolute_error": _linear(absolute.positive_mean(), width),
            "root_mean_squared_error": _linear(_root(square.positive_mean()), width),
            "r_squared": self._r_squared(square.skewness),
        }

    def _r_squared(self, skewness: float) -> Estimate:
        """Return 1 less the mean squared error over the targets' variance, with an interval for the ratio's logarithm.

        The delta method's (Serfling 1980, "Approximation theorems of mathematical statistics", ch. 3), widened by
        ``1 + g / (2 sqrt n)`` for squared errors of skewness g: without, it is too narrow where tails are heavy.
        """
        mean, t = self.of, self.of["target"]
        spread = mean["target_2"] - t * t
        if spread <= 1e-15:  # all targets alike: nothing to explain
            return UNDEFINED
        left, variance = mean["error_2"] / spread, 0.0
        fourth = mean["target_4"] - 4 * t * mean["target_3"] + 6 * t * t * mean["target_2"] - 3 * t**4
        mixed = mean["error_2_target_2"] - 2 * t * mean["error_2_target"] + t * t * mean["error_2"]
        if left > 0:
            variance = mean["error_4"] / mean["error_2"] ** 2 + fourth / spread**2
            variance -= 2 * mixed / (mean["error_2"] * spread)
        error = math.sqrt(max(0.0, variance) / (self.n - 1)) * (1 + skewness / (2 * math.sqrt(self.n)))

        def ends(confidence: float) -> Interval:
            part = _times(left, student_quantile(confidence, self.n - 1) * error)
            return Interval(low=1 - part.high, high=1 - part.low)

        return Estimate(value=1 - left, n=self.n, spread=ends)


@dataclass(frozen=True, slots=True)
class Sample:
    """The first moments of a quantity over n > 1 rows, about 0; ``cube`` None where skewness is left out."""

    n: int
    average: float
    square: float
    cube: float | None = None

    @property
    def variance(self) -> float:
        """About the mean."""
        return max(0.0, self.square - self.average**2)

    @property
    def skewness(self) -> float:
        """Third moment about the mean over the standard deviation's cube; 0 where nothing varies."""
        if self.cube is None or self.variance <= 1e-18:
            return 0.0
        third = self.cube - 3 * self.average * self.square + 2 * self.average**3
        return float(third / self.variance**1.5)

    def mean(self) -> Estimate:
        """Return the mean with Student's interval, as far as Hall's for skewed samples where that reaches further.

        Source: Hall, P. (1992), "On the removal of skewness by transformation", J. R. Stat. Soc. B 54:221-228.
        """
        return Estimate(value=self.average, n=self.n, spread=self._ends)

    def positive_mean(self) -> Estimate:
        """Return the mean of what is never negative; its interval reaches no less far than that of its logarithm."""
        relative = self._error / self.average if self.average > 0 else 0.0

        def ends(confidence: float) -> Interval:
            skewed = self._ends(confidence)
            logarithmic = _times(self.average, student_quantile(confidence, self.n - 1) * relative)
            low = min(logarithmic.low, skewed.low) if skewed.low > 0 else logarithmic.low
            return Interval(low=low, high=max(logarithmic.high, skewed.high))

        return Estimate(value=self.average, n=self.n, spread=ends)

    @property
    def _error(self) -> float:
        return math.sqrt(self.variance / (self.n - 1))

    def _ends(self, confidence: float) -> Interval:
        t = student_quantile(confidence, self.n - 1)
        below, above = max(t, self._hall(t)), max(t, -self._hall(-t))
        return Interval(low=self.average - below * self._error, high=self.average + above * self._error)

    def _hall(self, t: float) -> float:
        """Return the inverse of Hall's transformation."""
        k = self.skewness / math.sqrt(self.n)
        return t if abs(k) < 1e-9 else float(3 / k * (np.cbrt(1 + k * (t - k / 6)) - 1))


def _linear(estimate: Estimate, width: float, low: float = 0.0) -> Estimate:
    """Return a quantity in units of the range in its own unit."""
    return _moved(estimate, lambda value: low + width * value)


def _root(estimate: Estimate) -> Estimate:
    return _moved(estimate, lambda value: math.sqrt(max(0.0, value)))


def _moved(estimate: Estimate, rising: Callable[[float], float]) -> Estimate:
    spread = estimate.spread
    if estimate.value is None or spread is None:
        return UNDEFINED

    def ends(confidence: float) -> Interval:
        found = spread(confidence)
        return Interval(low=rising(found.low), high=rising(found.high))

    return Estimate(value=rising(estimate.value), n=estimate.n, spread=ends)


def _times(value: float, logarithm: float) -> Interval:
    factor = math.exp(min(700.0, logarithm))
    return Interval(low=value / factor, high=value * factor)


def value_estimates(table: ValueTable) -> dict[str, dict[str, Estimate]]:
    """Return ``{metric: {group: estimate}}`` of ``VALUE_MEASURES``, "unknown" among the groups."""
    sizes = table.counts.sum(axis=1).tolist()
    found = [_moments(table, n, sums).estimates() for n, sums in zip(sizes, table.sums, strict=True)]
    return {metric: dict(zip(table.groups, (one[metric] for one in found), strict=True)) for metric in VALUE_MEASURES}


def overall_estimates(table: ValueTable) -> dict[str, Estimate]:
    """Return every measure over all rows, those of unknown group included."""
    return _moments(table, int(table.counts.sum()), table.sums.sum(axis=0)).estimates()


def predictions_of(table: ValueTable) -> ScoreTable:
    """Return the predictions by group as scores without labels, each bin standing for its middle."""
    width = (table.high - table.low) / table.num_bins
    counts = np.stack([table.counts, np.zeros_like(table.counts)], axis=1)
    return ScoreTable(
        groups=table.groups,
        points=table.low + width * (np.arange(table.num_bins, dtype=np.float64) + 0.5),
        edges=(table.low, table.high),
        counts=counts,
        exact=False,
        labelled=False,
    )


def _moments(table: ValueTable, n: int, sums: NDArray[np.float64]) -> Moments:
    means = dict(zip(SUMS, (sums / max(1, n)).tolist(), strict=True))
    return Moments(n=n, low=table.low, width=table.high - table.low, of=means)
