"""Pairs of groups, with intervals of their difference and ratio."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from fedcore.audit.statistics.intervals import Interval

Ends = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One group of a pair, with its exact rate over `n` rows.

    Attributes:
        counted: Rows counted among these; None for quantities other than rates.
    """

    group: str
    rate: Fraction
    n: int
    counted: int | None = None

    @property
    def count(self) -> str:
        return count_words(self.counted, self.n)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two groups, the one of the higher rate first; equal ones in the order given.

    Attributes:
        signed: Interval of highest - lowest; it reaches below 0 if either group may be the higher one.
        signed_ratio: Interval of lowest / highest, which may reach over 1; None if a ratio has no interval.
    """

    highest: Side
    lowest: Side
    signed: Interval
    signed_ratio: Interval | None = None

    @classmethod
    def of(cls, a: Side, b: Side, difference: Interval, ratio: Interval | None = None) -> Pair:
        if a.rate < b.rate:
            return cls(highest=b, lowest=a, signed=negative(difference), signed_ratio=ratio)
        return cls(highest=a, lowest=b, signed=difference, signed_ratio=None if ratio is None else inverse(ratio))

    @property
    def difference(self) -> Interval:
        return unsigned(self.signed)

    @property
    def ratio(self) -> Interval | None:
        return None if self.signed_ratio is None else at_most_one(self.signed_ratio)

    def against(self, reference: str) -> Directed:
        if reference == self.lowest.group:
            ratio = None if self.signed_ratio is None else inverse(self.signed_ratio)
            return Directed(group=self.highest, reference=self.lowest, ends=self.signed, ratio_ends=ratio)
        return Directed(
            group=self.lowest, reference=self.highest, ends=negative(self.signed), ratio_ends=self.signed_ratio
        )

    @property
    def apart(self) -> Fraction:
        """Highest minus lowest rate, exact."""
        return self.highest.rate - self.lowest.rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Directed:
    """One group against a reference: below 0, or under 1, if its rate is the lower one.

    Attributes:
        ratio_ends: Interval of group over reference, which may be infinite; None if a ratio has no interval.
    """

    group: Side
    reference: Side
    ends: Interval
    ratio_ends: Interval | None

    @property
    def difference(self) -> Fraction:
        return self.group.rate - self.reference.rate

    @property
    def ratio(self) -> Fraction | None:
        """Group over reference; None if the reference's rate is 0 or a rate is negative."""
        rates = self.group.rate, self.reference.rate
        return rates[0] / rates[1] if rates[1] > 0 and rates[0] >= 0 and self.ratio_ends is not None else None


def count_words(counted: int | None, of: int) -> str:
    """Return ``301 of 1,000``, or ``1,000 rows`` for metrics other than rates."""
    return f"{of:,} row{'' if of == 1 else 's'}" if counted is None else f"{counted:,} of {of:,}"


def negative(difference: Interval) -> Interval:
    """Return the interval of -d for all d in the interval."""
    return Interval(low=-difference.high, high=-difference.low)


def inverse(ratio: Interval) -> Interval:
    """Return the interval of 1 / r for all r in the interval, within [0, inf]."""
    low, high = (1 / end if end else math.inf for end in (ratio.high, ratio.low))
    return Interval(low=low, high=high)


def unsigned(difference: Interval) -> Interval:
    """Return the interval of |d| for all d in the interval."""
    low, high = sorted((abs(difference.low), abs(difference.high)))
    return Interval(low=0.0 if difference.low <= 0 <= difference.high else low, high=high)


def at_most_one(ratio: Interval) -> Interval:
    low, high = sorted(end if end <= 1 else 1 / end for end in (ratio.low, ratio.high))
    return Interval(low=low, high=1.0 if ratio.low <= 1 <= ratio.high else high)


def highest_of(intervals: Iterable[Interval]) -> Ends:
    found = [*intervals]
    return max(one.low for one in found), max(one.high for one in found)


def lowest_of(intervals: Iterable[Interval]) -> Ends:
    found = [*intervals]
    return min(one.low for one in found), min(one.high for one in found)
