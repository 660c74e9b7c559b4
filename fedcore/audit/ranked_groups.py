"""One measure of rankings for every group: values, their covariance, and what follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations

import numpy as np

from fedcore.audit.estimates import UNDEFINED, Estimate
from fedcore.audit.gaps import Gap
from fedcore.audit.groups import UNKNOWN
from fedcore.audit.intervals import (
    Interval,
    normal_quantile,
    ratio_of,
    share_interval,
    square_and_add,
    student_quantile,
)
from fedcore.audit.pairs import Pair, Side
from fedcore.audit.ranked_lists import Array
from fedcore.audit.rate_gaps import pair_confidence


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RankedGroups:
    """One measure of every group.

    Attributes:
        metric: Its name, one of ``RANKED``.
        groups: The vocabulary.
        numerators: What the value is a ratio of, shape (groups,), NaN where the group has no rows.
        denominators: Likewise.
        scale: Largest value that each group could have.
        covariance: Of the values, shape (groups, groups), NaN where it is not known.
        degrees: Of freedom of each group's variance: one less than rows, or than lists that count equally.
        trials: Independent cases that a value at the end of its range is taken to rest on.
        rows: Rows of each group.
    """

    metric: str
    groups: tuple[str, ...]
    numerators: Array
    denominators: Array
    scale: Array
    covariance: Array
    degrees: Array
    trials: Array
    rows: Array

    def value(self, group: int) -> float | None:
        """Return the group's value; None where nothing is in the denominator."""
        return float(self.numerators[group] / self.denominators[group]) if self.denominators[group] > 0 else None

    def interval(self, group: int, confidence: float) -> Interval:
        """Return the interval of a value that is defined.

        It is that of the share that the value is of its largest, at the number of trials which have the same
        variance, by Student's quantile (Dean, N. and Pagano, M. 2015, "Evaluating confidence
        interval methods for binomial proportions in clustered surveys", J. Surv. Stat. Methodol. 3:484-503). All
        that is possible, where a variance cannot be known: the group is in one list alone, or has
        less than two rows, or two to be compared with.
        """
        scale, value = float(self.scale[group]), self.value(group) or 0.0
        if not self.degrees[group] >= 1:
            return Interval(low=0.0, high=scale)
        p = min(1.0, value / scale)
        variance = float(self.covariance[group, group]) / scale**2
        trials = p * (1 - p) / variance if 0 < p < 1 and variance > 0 else float(self.trials[group])
        fewer = (normal_quantile(confidence) / student_quantile(confidence, float(self.degrees[group]))) ** 2
        ends = _wilson_or_exact(p, trials * fewer, confidence)
        return Interval(low=max(0.0, scale * ends.low), high=min(scale, scale * ends.high))

    def estimates(self) -> dict[str, Estimate]:
        """Return every group's estimate."""
        return {group: self._estimate(g) for g, group in enumerate(self.groups)}

    def gap(self, attribute: str, among: Sequence[str], *, confidence: float) -> Gap:
        """Return the gap over these groups but "unknown", with an interval for all pairs at once.

        The groups of a list compete for its places, so that their values are correlated; the difference and the
        ratio of two take account of it (Zou, G. Y. and Donner, A. 2008, Stat. Med. 27:1693-1702).
        """
        known = [g for g, group in enumerate(self.groups) if group in among and group != UNKNOWN]
        values = {g: value for g in known if (value := self.value(g)) is not None}
        undefined = tuple(self.groups[g] for g in known if g not in values)
        compared = tuple(self.groups[g] for g in values)
        if len(values) < 2:
            return Gap(attribute=attribute, metric=self.metric, undefined=undefined, groups_compared=compared)
        each = pair_confidence(confidence, len(values))
        return Gap(
            attribute=attribute,
            metric=self.metric,
            pairs=tuple(self._pair(a, b, each) for a, b in combinations(values, 2)),
            undefined=undefined,
            groups_compared=compared,
        )

    def _pair(self, a: int, b: int, confidence: float) -> Pair:
        """Return two groups with the intervals of their difference and of their ratio."""
        first, second = self.value(a) or 0.0, self.value(b) or 0.0
        ends = self.interval(a, confidence), self.interval(b, confidence)
        correlation = self._correlation(a, b)
        difference = square_and_add(first, ends[0], second, ends[1], correlation=correlation)
        ratio = ratio_of(first, ends[0], second, ends[1], correlation=correlation)
        return Pair.of(self._side(a), self._side(b), difference, ratio)

    def _side(self, group: int) -> Side:
        return Side(group=self.groups[group], rate=self._exact(group), n=int(self.rows[group]))

    def _correlation(self, a: int, b: int) -> float:
        """Return the correlation of two groups' values; where it is not known that of two alone in a list."""
        together = float(np.sqrt(self.covariance[a, a] * self.covariance[b, b]))
        return float(np.clip(self.covariance[a, b] / together, -1, 1)) if together > 0 else -1.0

    def _estimate(self, group: int) -> Estimate:
        value = self.value(group)
        if value is None:
            return UNDEFINED
        return Estimate(
            value=value, n=int(self.rows[group]), spread=lambda confidence: self.interval(group, confidence)
        )

    def _exact(self, group: int) -> Fraction:
        return Fraction(float(self.numerators[group])) / Fraction(float(self.denominators[group]))


def _wilson_or_exact(p: float, trials: float, confidence: float) -> Interval:
    """Return Wilson's interval, with no end nearer than Clopper and Pearson's one-sided bound of the same confidence.

    Where few rows are at the top Wilson's lower end lies above a small rate in up to 8 % of samples. Source of the
    dip, and of bounds of one side there: Brown, L. D., Cai, T. T. and DasGupta, A. (2001), "Interval estimation for a
    binomial proportion", Stat. Sci. 16:101-133, section 4.1.
    """
    from scipy.special import betaincinv

    ends, tail = share_interval(p, trials, confidence=confidence), 1 - confidence
    above, below = p * trials, (1 - p) * trials
    low = float(betaincinv(above, below + 1, tail)) if p > 0 else 0.0
    high = float(betaincinv(above + 1, below, 1 - tail)) if p < 1 else 1.0
    return Interval(low=min(ends.low, low), high=max(ends.high, high))
