"""The distance between the best and the worst served group, with an interval that does not flatter or alarm.

The largest of several differences is biased upward: six equal groups of 100 show a least ratio under 0.8 in
90 % of samples. So every pair of groups gets an interval, at a confidence raised (Bonferroni) until all of
them hold at once with the stated confidence; whenever they do, so do the ends formed below, whichever groups
are truly furthest apart. Source of the correction: Dunn, O. J. (1961), "Multiple comparisons among means",
J. Am. Stat. Assoc. 56:52-64.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations

from fedcore.audit.groups import UNKNOWN
from fedcore.audit.intervals import (
    Interval,
    exact_interval,
    koopman_interval,
    newcombe_interval,
    ratio_of,
    square_and_add,
)
from fedcore.audit.rates import METRICS, Rate
from fedcore.figures import figure_spec

SHARES = (*METRICS, "balanced_accuracy", "worst_class_accuracy", "selection_rate_at_k")
"""Metrics that are shares of rows, and shown in percent."""


NO_RATIO = ("mean_error", "r_squared")
"""Metrics whose 0 is no absence, so that a ratio says nothing."""
Ends = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """The gap of one metric over the groups of one attribute.

    Rows of unknown group are not compared: they are no group that could be served badly, though their own
    rate is reported beside the others. Groups without a rate cannot be compared and are named in
    ``undefined``.

    Attributes:
        attribute: Name of the attribute.
        metric: Name of the metric.
        highest: Group of the highest rate; None if fewer than two groups have one. Ties go to the first
            group.
        lowest: Group of the lowest rate, or None.
        highest_rate: Exact rate of that group, or None.
        lowest_rate: Exact rate of that group, or None.
        difference_low: Lower end of highest - lowest, in [0, 1], or None.
        difference_high: Upper end, or None.
        ratio_low: Lower end of lowest / highest, in [0, 1], or None.
        ratio_high: Upper end, or None.
        highest_ends: Ends of the exact interval of the highest rate, whichever group truly has it, or None.
        lowest_ends: The same of the lowest rate.
        undefined: Groups whose rate is undefined.
        groups_compared: Groups that have a rate.
        label: The class that the rate takes against all others; None where that is known from elsewhere.
    """

    attribute: str
    metric: str
    highest: str | None = None
    lowest: str | None = None
    highest_rate: Fraction | None = None
    lowest_rate: Fraction | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    highest_ends: Ends | None = None
    lowest_ends: Ends | None = None
    undefined: tuple[str, ...]
    groups_compared: tuple[str, ...]
    label: str | None = None

    @property
    def difference_fraction(self) -> Fraction | None:
        """Highest minus lowest rate, exact."""
        if self.highest_rate is None or self.lowest_rate is None:
            return None
        return self.highest_rate - self.lowest_rate

    @property
    def ratio_fraction(self) -> Fraction | None:
        """Lowest over highest rate, exact; None also if every rate is 0 or one is below, for then there is none."""
        if self.metric in NO_RATIO:
            return None
        if not self.highest_rate or self.lowest_rate is None or self.lowest_rate < 0:
            return None
        return self.lowest_rate / self.highest_rate

    @property
    def difference(self) -> float | None:
        """Highest minus lowest rate."""
        return None if self.difference_fraction is None else float(self.difference_fraction)

    @property
    def ratio(self) -> float | None:
        """Lowest over highest rate."""
        return None if self.ratio_fraction is None else float(self.ratio_fraction)

    @property
    def name(self) -> str:
        """The metric in words, with the class that it is of."""
        return self.metric.replace("_", " ") + (f" of {self.label}" if self.label is not None else "")

    @property
    def words(self) -> str:
        """The gap with its direction: ``selection rate: Male 30.1 % over Female 11.2 %, 18.9 points``."""
        name = self.name
        if self.highest_rate is None or self.lowest_rate is None or self.difference is None:
            return f"{name}: no gap, because fewer than two groups have a rate"
        if self.metric not in SHARES:
            high, low = self.told(float(self.highest_rate)), self.told(float(self.lowest_rate))
            if self.difference == 0:
                return f"{name}: {high} in every group"
            return f"{name}: {self.highest} {high} over {self.lowest} {low}, {self.told(self.difference)}"
        if self.difference == 0:
            return f"{name}: {float(self.highest_rate):.1%} in every group".replace("%", " %")
        return (
            f"{name}: {self.highest} {100 * float(self.highest_rate):.1f} % over "
            f"{self.lowest} {100 * float(self.lowest_rate):.1f} %, {100 * self.difference:.1f} points"
        )

    def told(self, value: float) -> str:
        """Write a value of a metric that is no share to the decimals that the gap's two rates have."""
        rates = [float(rate) for rate in (self.highest_rate, self.lowest_rate) if rate is not None]
        return f"{value:{figure_spec(*(rates or [value]), least=3)}}"


def gap_between(attribute: str, metric: str, rates: Mapping[str, Rate], *, confidence: float) -> Gap:
    """Return the gap over all groups but "unknown".

    The lower end of the difference is the largest of the pairs' lower ends (0 for a pair whose interval holds
    0), the upper end the largest of their upper ends; for the ratio the smallest of each.

    Args:
        attribute: Name of the attribute.
        metric: Name of the metric.
        rates: Rate of each group.
        confidence: With which the gap's interval holds, all pairs together.
    """
    known = {group: rate for group, rate in rates.items() if group != UNKNOWN}
    compared = {group: rate.fraction for group, rate in known.items() if rate.fraction is not None}
    undefined = tuple(group for group in known if group not in compared)
    if len(compared) < 2:
        return Gap(attribute=attribute, metric=metric, undefined=undefined, groups_compared=tuple(compared))
    highest, lowest = max(compared, key=compared.__getitem__), min(compared, key=compared.__getitem__)
    differences, ratios = _pairwise([known[group] for group in compared], confidence)
    each = 1 - (1 - confidence) / len(compared)
    alone = [_alone(known[group], confidence=each) for group in compared]
    return Gap(
        attribute=attribute,
        metric=metric,
        highest=highest,
        lowest=lowest,
        highest_rate=compared[highest],
        lowest_rate=compared[lowest],
        difference_low=max(interval.low for interval in differences),
        difference_high=max(interval.high for interval in differences),
        ratio_low=min(interval.low for interval in ratios),
        ratio_high=min(interval.high for interval in ratios),
        highest_ends=highest_of(alone),
        lowest_ends=lowest_of(alone),
        undefined=undefined,
        groups_compared=tuple(compared),
    )


def pair_confidence(confidence: float, num_groups: int) -> float:
    """Return the confidence of each pair with which all pairs hold together at ``confidence``."""
    return 1 - (1 - confidence) / math.comb(num_groups, 2)


def _pairwise(rates: list[Rate], confidence: float) -> tuple[list[Interval], list[Interval]]:
    """Return each pair's interval of the unsigned difference, and of the ratio of the lower to the higher."""
    each = pair_confidence(confidence, len(rates))
    differences, ratios = [], []
    for a, b in combinations(rates, 2):
        differences.append(unsigned(difference_of(a, b, confidence=each)))
        ratios.append(at_most_one(rate_ratio(a, b, confidence=each)))
    return differences, ratios


def difference_of(a: Rate, b: Rate, *, confidence: float) -> Interval:
    """Return the interval of the first rate less the second: Newcombe's, of noisy counts with their own intervals."""
    if not (a.noise.present or b.noise.present):
        return newcombe_interval(a.successes, a.n, b.successes, b.n, confidence=confidence)
    found = square_and_add(_share(a), a.interval(confidence), _share(b), b.interval(confidence))
    return Interval(low=max(-1.0, found.low), high=min(1.0, found.high))


def rate_ratio(a: Rate, b: Rate, *, confidence: float) -> Interval:
    """Return the interval of the first rate over the second: Koopman's, of noisy counts of their logarithms."""
    if not (a.noise.present or b.noise.present):
        return koopman_interval(a.successes, a.n, b.successes, b.n, confidence=confidence)
    return ratio_of(_share(a), a.interval(confidence), _share(b), b.interval(confidence))


def _alone(rate: Rate, *, confidence: float) -> Interval:
    """Return the exact interval of a rate, for many of which Wilson's are too short near 0 and 100 %."""
    if rate.noise.present:
        return rate.interval(confidence)
    return exact_interval(rate.successes, rate.n, confidence=confidence)


def _share(rate: Rate) -> float:
    return rate.successes / rate.n


def highest_of(intervals: Iterable[Interval]) -> Ends:
    """Return the interval of the largest of several quantities whose intervals hold together."""
    found = [*intervals]
    return max(one.low for one in found), max(one.high for one in found)


def lowest_of(intervals: Iterable[Interval]) -> Ends:
    """Return the interval of the smallest of several quantities whose intervals hold together."""
    found = [*intervals]
    return min(one.low for one in found), min(one.high for one in found)


def unsigned(difference: Interval) -> Interval:
    """Return the interval of |d| for all d in the interval."""
    low, high = sorted((abs(difference.low), abs(difference.high)))
    return Interval(low=0.0 if difference.low <= 0 <= difference.high else low, high=high)


def at_most_one(ratio: Interval) -> Interval:
    """Return the values of min(r, 1 / r) for r in the interval."""
    low, high = sorted(end if end <= 1 else 1 / end for end in (ratio.low, ratio.high))
    return Interval(low=low, high=1.0 if ratio.low <= 1 <= ratio.high else high)
