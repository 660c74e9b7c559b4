"""How far predicted numbers are from what they should be, by group, with intervals, from sums alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fedcore.audit.metrics.estimates import UNDEFINED, Estimate
from fedcore.audit.statistics.intervals import Interval, exact_interval, student_quantile
from fedcore.audit.tables.error_sums import SUMS
from fedcore.audit.tables.values import ValueTable

ALIKE = 1e-12
"""Part of the mean square below which a variance is what floating point leaves of none."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The first three moments about 0 of a quantity in [least, 1] over n > 1 rows."""

    n: int
    average: float
    square: float
    cube: float
    least: float = 0.0

    @property
    def variance(self) -> float:
        return max(0.0, self.square - self.average**2)

    @property
    def alike(self) -> bool:
        return self.variance <= ALIKE * max(self.square, ALIKE)

    @property
    def skewness(self) -> float:
        """Third moment about the mean over the standard deviation's cube; 0 where nothing varies."""
        if self.alike:
            return 0.0
        third = self.cube - 3 * self.average * self.square + 2 * self.average**3
        return float(third / self.variance**1.5)

    def mean(self) -> Estimate:
        """Return the mean; its interval reaches as far as the furthest of three.

        They are Student's; Hall's for skewed samples (Hall, P. 1992, "On the removal of skewness by transformation",
        J. R. Stat. Soc. B 54:221-228); and `two_valued`, the only one that is right where few rows make up the mean.
        """
        return Estimate(value=self.average, n=self.n, spread=self._ends)

    def positive_mean(self) -> Estimate:
        """Return the mean of a non-negative quantity; its interval reaches as far as that of its logarithm, too."""

        def ends(confidence: float) -> Interval:
            relative = self._error / self.average if self.average > 0 else 0.0
            return around(self._ends(confidence), times(self.average, self._quantile(confidence) * relative))

        return Estimate(value=self.average, n=self.n, spread=ends)

    def two_valued(self, confidence: float) -> Interval:
        """Return the interval of the mean if the quantity had two values, and this mean, variance and skewness.

        Then it is that of a share, with an exact interval (Clopper and Pearson 1934). With skewness g the share of the
        higher value is ``(1 - g / sqrt(4 + g^2)) / 2``. If all rows are equal, other values may be as frequent as
        something never seen in n rows, and as far away as possible.
        """
        if self.alike:
            unseen = exact_interval(0, self.n, confidence=confidence).high
            below, above = self.average - self.least, 1 - self.average
            return Interval(low=self.average - unseen * below, high=self.average + unseen * above)
        share = (1 - self.skewness / math.hypot(2, self.skewness)) / 2
        apart = math.sqrt(self.variance / (share * (1 - share)))
        lower = self.average - share * apart
        ends = exact_interval(share * self.n, self.n, confidence=confidence)
        return Interval(low=lower + apart * ends.low, high=lower + apart * ends.high)

    def _ends(self, confidence: float) -> Interval:
        t = self._quantile(confidence)
        below, above = max(t, self._hall(t)), max(t, -self._hall(-t))
        skewed = Interval(low=self.average - below * self._error, high=self.average + above * self._error)
        found = around(skewed, self.two_valued(confidence))
        return Interval(low=max(self.least, found.low), high=min(1.0, found.high))

    @property
    def _error(self) -> float:
        return math.sqrt(self.variance / (self.n - 1))

    def _quantile(self, confidence: float) -> float:
        return student_quantile(confidence, self.n - 1)

    def _hall(self, t: float) -> float:
        k = self.skewness / math.sqrt(self.n)
        return t if abs(k) < 1e-9 else float(3 / k * (np.cbrt(1 + k * (t - k / 6)) - 1))


def around(one: Interval, other: Interval) -> Interval:
    return Interval(low=min(one.low, other.low), high=max(one.high, other.high))


def times(value: float, logarithm: float) -> Interval:
    """Return the interval of a positive value from that of its logarithm's error."""
    factor = math.exp(min(700.0, logarithm))
    return Interval(low=value / factor, high=value * factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Means over a group's n rows of target t in [0, 1] and error e in [-1, 1], in units of the range.

    Attributes:
        low: Lowest target.
        width: Highest less lowest target.
        of: Mean of each of ``error_sums.SUMS``.
    """

    n: int
    low: float
    width: float
    of: dict[str, float]

    def mean_prediction(self) -> Estimate:
        return self._in_unit(self._predictions().mean(), self.low)

    def mean_target(self) -> Estimate:
        return self._in_unit(self._targets().mean(), self.low)

    def mean_error(self) -> Estimate:
        return self._in_unit(self._sample("error", "error_2", "error_3", least=-1.0).mean())

    def mean_absolute_error(self) -> Estimate:
        return self._in_unit(self._sample("absolute_error", "error_2", "absolute_error_3").positive_mean())

    def root_mean_squared_error(self) -> Estimate:
        return self._in_unit(_moved(self._squares().positive_mean(), lambda value: math.sqrt(max(0.0, value))))

    def r_squared(self) -> Estimate:
        """Return 1 less the mean squared error over the targets' variance, with an interval for the ratio's logarithm.

        The delta method's (Serfling 1980, "Approximation theorems of mathematical statistics", ch. 3), widened by
        ``1 + g / (2 sqrt n)`` for squared errors of skewness g: without, it is too narrow where tails are heavy. It
        reaches as far as the interval of squared errors, since the delta method fails where a few rows are far off.
        """
        if self._targets().alike:
            return UNDEFINED
        square = self._squares()
        mean, t = self.of, self.of["target"]
        spread = mean["target_2"] - t * t
        left, variance = mean["error_2"] / spread, 0.0
        fourth = mean["target_4"] - 4 * t * mean["target_3"] + 6 * t * t * mean["target_2"] - 3 * t**4
        mixed = mean["error_2_target_2"] - 2 * t * mean["error_2_target"] + t * t * mean["error_2"]
        if mean["error_2"] > ALIKE**2:
            variance = mean["error_4"] / mean["error_2"] ** 2 + fourth / spread**2
            variance -= 2 * mixed / (mean["error_2"] * spread)
        error = math.sqrt(max(0.0, variance) / (self.n - 1)) * (1 + square.skewness / (2 * math.sqrt(self.n)))
        squares = square.positive_mean().spread

        def ends(confidence: float) -> Interval:
            part = times(left, student_quantile(confidence, self.n - 1) * error)
            if squares is not None:
                own = squares(confidence)
                part = around(part, Interval(low=own.low / spread, high=own.high / spread))
            return Interval(low=1 - part.high, high=1 - part.low)

        return Estimate(value=1 - left, n=self.n, spread=ends)

    def _sample(self, average: str, square: str, cube: str, *, least: float = 0.0) -> Sample:
        return Sample(self.n, self.of[average], self.of[square], self.of[cube], least=least)

    def _targets(self) -> Sample:
        return self._sample("target", "target_2", "target_3")

    def _squares(self) -> Sample:
        return self._sample("error_2", "error_4", "error_6")

    def _predictions(self) -> Sample:
        of = self.of
        square = of["target_2"] + 2 * of["error_target"] + of["error_2"]
        cube = of["target_3"] + 3 * of["error_target_2"] + 3 * of["error_2_target"] + of["error_3"]
        return Sample(self.n, of["target"] + of["error"], square, cube)

    def _in_unit(self, estimate: Estimate, low: float = 0.0) -> Estimate:
        """Return a quantity given in units of the range in its own unit."""
        return _moved(estimate, lambda value: low + self.width * value)


def _moved(estimate: Estimate, rising: Callable[[float], float]) -> Estimate:
    spread = estimate.spread
    if estimate.value is None or spread is None:
        return UNDEFINED

    def ends(confidence: float) -> Interval:
        found = spread(confidence)
        return Interval(low=rising(found.low), high=rising(found.high))

    return Estimate(value=rising(estimate.value), n=estimate.n, spread=ends)


def moments_of(table: ValueTable) -> list[Moments]:
    return [
        Moments(
            n=n,
            low=table.low,
            width=table.high - table.low,
            of=dict(zip(SUMS, (sums / max(1, n)).tolist(), strict=True)),
        )
        for n, sums in zip(table.counts.sum(axis=1).tolist(), table.sums, strict=True)
    ]
