"""Quantities by group that are no plain rates, with intervals at any confidence, and the gaps between groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations

from fedcore.audit.metrics.gaps import NO_RATIO, Gap
from fedcore.audit.metrics.rate_gaps import pair_confidence
from fedcore.audit.statistics.intervals import Interval, normal_quantile, ratio_of, square_and_add
from fedcore.audit.statistics.pairs import Pair, Side
from fedcore.audit.tables.groups import UNKNOWN
from fedcore.errors import DataError

BALANCED, WORST_CLASS = CLASS_MEASURES = ("balanced_accuracy", "worst_class_accuracy")
"""Of labels and decisions; the second where there are more than two labels, none of them favourable."""
BENEFIT_MEASURES = ("generalized_entropy", "theil_index")
"""Of labels and decisions, where one label is favourable."""
AREA_MEASURES = ("auc",)
"""Of labels and scores."""
PROBABILITY_MEASURES = ("brier_score", "expected_calibration_error", "calibration_slope")
"""Of labels and scores that may be probabilities."""
VALUE_MEASURES = (
    "mean_prediction",
    "mean_target",
    "mean_error",
    "mean_absolute_error",
    "root_mean_squared_error",
    "r_squared",
)
"""Of targets that are numbers, in their unit but for the last."""
SIGNED = ("mean_prediction", "mean_target", "mean_error", "r_squared")
"""Those that may be below 0."""
MEASURES: tuple[str, ...] = (
    *CLASS_MEASURES,
    *BENEFIT_MEASURES,
    *AREA_MEASURES,
    *PROBABILITY_MEASURES,
    *VALUE_MEASURES,
)
"""Quantities that are no rates."""

Spread = Callable[[float], Interval]
"""From a confidence to an interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A quantity of one group with its interval; all None where it is undefined.

    Attributes:
        value: The estimate.
        low: Lower end of the interval.
        high: Upper end.
        n: Rows that it rests on.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A quantity before its confidence is chosen.

    Attributes:
        value: The estimate; None where it is undefined.
        n: Rows that it rests on.
        spread: Its interval at a confidence; None where it is undefined.
    """

    value: float | None
    n: int
    spread: Spread | None = None

    def measure(self, confidence: float) -> Measure:
        """Return the estimate with its interval."""
        if self.value is None or self.spread is None:
            return Measure(value=None, low=None, high=None, n=0)
        ends = self.spread(confidence)
        return Measure(value=self.value, low=ends.low, high=ends.high, n=self.n)


UNDEFINED = Estimate(value=None, n=0)


def normal(value: float, error: float, *, within: tuple[float, float]) -> Spread:
    """Return the spread ``value +- z error``, cut to the range that the quantity can have."""

    def ends(confidence: float) -> Interval:
        half = normal_quantile(confidence) * error
        return Interval(low=max(within[0], value - half), high=min(within[1], value + half))

    return ends


def difference(a: Measure, b: Measure) -> Interval:
    """Return the interval of a - b for independent quantities, by ``square_and_add``.

    Raises:
        DataError: One of them is undefined.
    """
    return square_and_add(*_defined(a), *_defined(b))


def ratio(a: Measure, b: Measure) -> Interval:
    """Return the interval of a / b for independent quantities that are not below 0, by ``ratio_of``.

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

    Ratios are of what cannot be below 0; elsewhere there are none.
    """
    known = {group: estimate for group, estimate in estimates.items() if group != UNKNOWN}
    sides = {
        group: Side(group=group, rate=Fraction(one.value), n=one.n)
        for group, one in known.items()
        if one.value is not None
    }
    each = pair_confidence(confidence, len(sides))
    measures = {group: known[group].measure(each) for group in sides}
    known_ratio = metric not in NO_RATIO and all((one.low or 0.0) >= 0 for one in measures.values())
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
