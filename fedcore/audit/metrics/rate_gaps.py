"""Gaps between the rates of groups, every pair of groups with its interval.

The largest of several differences is biased upward: six equal groups of 100 show a least ratio under 0.8 in
90 % of samples. So every pair of groups gets an interval, at a confidence raised (Bonferroni) until all of
them hold at once with the stated confidence. Then they hold for whichever pair is named, and so do the ends
formed of all of them, whichever groups are truly furthest apart. Source of the correction: Dunn, O. J. (1961),
"Multiple comparisons among means", J. Am. Stat. Assoc. 56:52-64.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations

from fedcore.audit.metrics.gaps import Gap
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


def gap_between(attribute: str, metric: str, rates: Mapping[str, Rate], *, confidence: float) -> Gap:
    """Return the gap over all groups but "unknown"; the intervals of all pairs hold together with this confidence."""
    known = {group: rate for group, rate in rates.items() if group != UNKNOWN}
    sides = {group: side for group, rate in known.items() if (side := side_of(group, rate)) is not None}
    each = pair_confidence(confidence, len(sides))
    pairs = [
        Pair.of(
            sides[a],
            sides[b],
            difference_of(known[a], known[b], confidence=each),
            rate_ratio(known[a], known[b], confidence=each),
        )
        for a, b in combinations(sides, 2)
    ]
    alone = [
        (side, _alone(known[group], confidence=1 - (1 - confidence) / len(sides))) for group, side in sides.items()
    ]
    return Gap.over(known, sides, pairs, alone, attribute=attribute, metric=metric)


def side_of(group: str, rate: Rate) -> Side | None:
    return None if rate.fraction is None else Side(group=group, rate=rate.fraction, n=rate.n, counted=rate.successes)


def pair_confidence(confidence: float, num_groups: int) -> float:
    """Return the confidence of each pair, so that all pairs hold together at ``confidence``."""
    return 1 - (1 - confidence) / max(1, math.comb(num_groups, 2))


def difference_of(a: Rate, b: Rate, *, confidence: float) -> Interval:
    """Return the interval of a - b; for noisy counts from the rates' own intervals."""
    if not (a.noise.present or b.noise.present):
        return difference_interval(*_rows(a), *_rows(b), confidence=confidence)
    found = square_and_add(_share(a), a.interval(confidence), _share(b), b.interval(confidence))
    return Interval(low=max(-1.0, found.low), high=min(1.0, found.high))


def rate_ratio(a: Rate, b: Rate, *, confidence: float) -> Interval:
    """Return the interval of a / b: Koopman's; for noisy counts from logarithms."""
    if not (a.noise.present or b.noise.present):
        return koopman_interval(*_rows(a), *_rows(b), confidence=confidence)
    return ratio_of(_share(a), a.interval(confidence), _share(b), b.interval(confidence))


def _alone(rate: Rate, *, confidence: float) -> Interval:
    """Return the exact interval of a rate: Wilson's are too short near 0 and 100 % for many rates."""
    if rate.noise.present:
        return rate.interval(confidence)
    return exact_interval(*_rows(rate), confidence=confidence)


def _rows(rate: Rate) -> tuple[float, float]:
    """Return rows counted and rows in all; of weighted rows the effective numbers."""
    return rate.evidence if rate.weighted else (rate.successes, rate.n)


def _share(rate: Rate) -> float:
    return rate.successes / rate.n
