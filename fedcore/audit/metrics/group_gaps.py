"""Gaps between groups, every pair of groups with its interval.

The largest of several differences is biased upward: six equal groups of 100 show a least ratio under 0.8 in
90 % of samples. So every pair of groups gets an interval, at a confidence raised (Bonferroni) until all of
them hold at once with the stated confidence. Then they hold for whichever pair is named, and so do the ends
formed of all of them, whichever groups are truly furthest apart. Source of the correction: Dunn, O. J. (1961),
"Multiple comparisons among means", J. Am. Stat. Assoc. 56:52-64.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from itertools import combinations
from typing import TypeGuard

from fedcore.audit.metrics.estimates import Estimate, Measure
from fedcore.audit.metrics.gaps import Gap, has_ratio
from fedcore.audit.metrics.rates import Rate
from fedcore.audit.statistics.intervals import (
    Interval,
    difference_interval,
    exact_interval,
    koopman_interval,
    ratio_of,
    square_and_add,
)
from fedcore.audit.statistics.pairs import Pair, Side
from fedcore.audit.tables.groups import UNKNOWN
from fedcore.errors import DataError

Quantity = Rate | Estimate
Compared = Rate | Measure
"""A quantity at a confidence; a rate has an interval at any."""


def gap_between(attribute: str, metric: str, quantities: Mapping[str, Quantity], *, confidence: float) -> Gap:
    """Return the gap over all groups but "unknown"; the intervals of all pairs hold together with this confidence.

    Only quantities that cannot be negative have a ratio.
    """
    known = {group: one for group, one in quantities.items() if group != UNKNOWN}
    sides = {group: side for group, one in known.items() if (side := _side(group, one)) is not None}
    each, alone = pair_confidence(confidence, len(sides)), 1 - (1 - confidence) / max(1, len(sides))
    found = {group: at_confidence(known[group], each) for group in sides}
    with_ratio = has_ratio(metric) and all(isinstance(one, Rate) or (one.low or 0.0) >= 0 for one in found.values())
    pairs = [
        Pair.of(
            sides[a],
            sides[b],
            difference(found[a], found[b], confidence=each),
            ratio(found[a], found[b], confidence=each) if with_ratio else None,
        )
        for a, b in combinations(sides, 2)
    ]
    ends = [(side, _alone(known[group], alone)) for group, side in sides.items()]
    return Gap(
        attribute=attribute,
        metric=metric,
        pairs=tuple(pairs),
        alone=tuple(ends) if pairs else (),
        undefined=tuple(group for group in known if group not in sides),
        groups_compared=tuple(sides),
    )


def pair_confidence(confidence: float, num_groups: int) -> float:
    """Return the confidence of each pair, so that all pairs hold together at ``confidence``."""
    return 1 - (1 - confidence) / max(1, math.comb(num_groups, 2))


def difference(a: Compared, b: Compared, *, confidence: float) -> Interval:
    """Return the interval of a - b: that of two rates, or ``square_and_add`` of the intervals of each.

    Raises:
        DataError: One of them is undefined.
    """
    if _counted(a) and _counted(b):
        return difference_interval(*_rows(a), *_rows(b), confidence=confidence)
    found = square_and_add(*_reach(a, confidence), *_reach(b, confidence))
    if isinstance(a, Measure):
        return found
    return Interval(low=max(-1.0, found.low), high=min(1.0, found.high))


def ratio(a: Compared, b: Compared, *, confidence: float) -> Interval:
    """Return the interval of a / b of quantities >= 0: Koopman's of two rates, or from logarithms.

    Raises:
        DataError: One of them is undefined.
    """
    if _counted(a) and _counted(b):
        return koopman_interval(*_rows(a), *_rows(b), confidence=confidence)
    return ratio_of(*_reach(a, confidence), *_reach(b, confidence))


def _side(group: str, one: Quantity) -> Side | None:
    if isinstance(one, Rate):
        return None if one.fraction is None else Side(group=group, rate=one.fraction, n=one.n, counted=one.successes)
    return None if one.value is None else Side(group=group, rate=Fraction(one.value), n=one.n)


def at_confidence(one: Quantity, confidence: float) -> Compared:
    return one if isinstance(one, Rate) else one.measure(confidence)


def _counted(one: Compared) -> TypeGuard[Rate]:
    """Whether it is a rate of rows counted without noise."""
    return isinstance(one, Rate) and not one.noise.present


def _alone(one: Quantity, confidence: float) -> Interval:
    """Return the interval of one group; of a rate the exact one, since Wilson's are too short near 0 and 100 %."""
    found = at_confidence(one, confidence)
    return exact_interval(*_rows(found), confidence=confidence) if _counted(found) else _reach(found, confidence)[1]


def _rows(rate: Rate) -> tuple[float, float]:
    """Return rows counted and rows in all; of weighted rows the effective numbers."""
    return rate.evidence if rate.weighted else (rate.successes, rate.n)


def _reach(one: Compared, confidence: float) -> tuple[float, Interval]:
    """Return the value and its interval."""
    if one.value is None or one.low is None or one.high is None:
        raise DataError("an undefined quantity has no difference to another")
    ends = one.interval(confidence) if isinstance(one, Rate) else Interval(low=one.low, high=one.high)
    return one.value, ends
