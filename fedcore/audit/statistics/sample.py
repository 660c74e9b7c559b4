"""The interval of the mean of a bounded quantity, from the first three moments of a sample."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fedcore.audit.metrics.estimates import Estimate
from fedcore.audit.statistics.intervals import Interval, exact_interval, student_quantile

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
