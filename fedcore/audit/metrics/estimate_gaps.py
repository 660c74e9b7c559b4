"""Gaps between groups in quantities other than plain rates."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from itertools import combinations

from fedcore.audit.metrics.estimates import Estimate, Measure
from fedcore.audit.metrics.gaps import Gap, has_ratio
from fedcore.audit.metrics.rate_gaps import pair_confidence
from fedcore.audit.statistics.intervals import Interval, ratio_of, square_and_add
from fedcore.audit.statistics.pairs import Pair, Side
from fedcore.audit.tables.groups import UNKNOWN
from fedcore.errors import DataError


def difference(a: Measure, b: Measure) -> Interval:
    """Return the interval of a - b for independent quantities by ``square_and_add``.

    Raises:
        DataError: One of them is undefined.
    """
    return square_and_add(*_defined(a), *_defined(b))


def ratio(a: Measure, b: Measure) -> Interval:
    """Return the interval of a / b for independent quantities >= 0 by ``ratio_of``.

    Raises:
        DataError: One of them is undefined.
    """
    return ratio_of(*_defined(a), *_defined(b))


def _defined(measure: Measure) -> tuple[float, Interval]:
    if measure.value is None or measure.low is None or measure.high is None:
        raise DataError("an undefined quantity has no difference to another")
    return measure.value, Interval(low=measure.low, high=measure.high)


def gap_of(attribute: str, metric: str, estimates: Mapping[str, Estimate], *, confidence: float) -> Gap:
    """Return the gap of a quantity over all groups but "unknown", with the intervals of ``gap_between``.

    Only quantities that cannot be negative have a ratio.
    """
    known = {group: estimate for group, estimate in estimates.items() if group != UNKNOWN}
    sides = {
        group: Side(group=group, rate=Fraction(one.value), n=one.n)
        for group, one in known.items()
        if one.value is not None
    }
    each = pair_confidence(confidence, len(sides))
    measures = {group: known[group].measure(each) for group in sides}
    known_ratio = has_ratio(metric) and all((one.low or 0.0) >= 0 for one in measures.values())
    pairs = [
        Pair.of(
            sides[a],
            sides[b],
            difference(measures[a], measures[b]),
            ratio(measures[a], measures[b]) if known_ratio else None,
        )
        for a, b in combinations(sides, 2)
    ]
    alone = [
        (side, _defined(known[group].measure(1 - (1 - confidence) / len(sides)))[1]) for group, side in sides.items()
    ]
    return Gap.over(known, sides, pairs, alone, attribute=attribute, metric=metric)
