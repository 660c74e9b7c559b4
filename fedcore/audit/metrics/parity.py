"""The usual names of gaps between groups: demographic parity, equal opportunity, equalized odds, impact ratio."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import permutations
from typing import Any

from fedcore.audit.metrics.gaps import Gap
from fedcore.audit.metrics.group_gaps import gap_between, pair_confidence, ratio
from fedcore.audit.metrics.rates import Rate
from fedcore.audit.statistics.pairs import Side
from fedcore.audit.tables.groups import UNKNOWN

NAMES: dict[str, tuple[str, ...]] = {
    "demographic_parity": ("selection_rate",),
    "equal_opportunity": ("true_positive_rate",),
    "equalized_odds": ("true_positive_rate", "false_positive_rate"),
    "impact_ratio": ("selection_rate",),
}
"""For each name the metrics whose gaps it is formed of."""

Rates = Mapping[str, Mapping[str, Rate]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """A gap under its usual name; None where undefined. All but the last is of the named pair of groups.

    Attributes:
        difference: Higher minus lower rate, of equalized odds the clearer of two; of an impact ratio 1 - ratio.
        ratio: Lower over higher rate.
        highest_count: Rows counted, and the denominator, of the first group.
        over_all_pairs: Largest difference and smallest ratio of any two groups, with intervals; as in ``gap_json``.
    """

    difference: float | None = None
    low: float | None = None
    high: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    highest: str | None = None
    lowest: str | None = None
    highest_count: Mapping[str, Any] | None = None
    lowest_count: Mapping[str, Any] | None = None
    over_all_pairs: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, gap: Gap) -> Parity:
        return cls(
            difference=gap.difference,
            low=gap.difference_low,
            high=gap.difference_high,
            ratio=gap.ratio,
            ratio_low=gap.ratio_low,
            ratio_high=gap.ratio_high,
            highest=gap.highest,
            lowest=gap.lowest,
            highest_count=None if gap.pair is None else count_json(gap.pair.highest),
            lowest_count=None if gap.pair is None else count_json(gap.pair.lowest),
            over_all_pairs=over_all_pairs(gap),
        )


def count_json(side: Side) -> dict[str, Any]:
    """Return ``{counted, of}``: rows counted among the rows behind a rate; null for other metrics."""
    return {"counted": side.counted, "of": side.n}


def over_all_pairs(gap: Gap) -> dict[str, Any]:
    """Return the largest difference and smallest ratio of any two groups: estimates, and ends of intervals."""
    difference, ratio = gap.widest_estimate, gap.smallest_ratio_estimate
    (low, high), (ratio_low, ratio_high) = gap.widest or (None, None), gap.smallest_ratio or (None, None)
    return {
        "difference": None if difference is None else float(difference),
        "low": low,
        "high": high,
        "ratio": None if ratio is None else float(ratio),
        "ratio_low": ratio_low,
        "ratio_high": ratio_high,
    }


def parities(attribute: str, rates: Rates, *, confidence: float) -> dict[str, Parity]:
    """Return every named gap whose metrics are measured, over all groups given but "unknown".

    Each interval holds with the stated confidence: that of equalized odds is formed of two gaps' intervals at
    half the error each (Bonferroni). Rates are ``{metric: {group: rate}}``.
    """
    found: dict[str, Parity] = {}
    for name, metrics in NAMES.items():
        if all(metric in rates for metric in metrics):
            each = 1 - (1 - confidence) / len(metrics)
            gaps = [gap_between(attribute, metric, rates[metric], confidence=each) for metric in metrics]
            found[name] = parity_of(name, gaps)
    return found


def impact_ratios(rates: Mapping[str, Rate], *, confidence: float) -> dict[str, Rate | None]:
    """Return each group's rate over the highest of all groups; None for "unknown" and where undefined.

    The interval is that of the smallest of the group's ratios to every group, all pairs at once, so that it
    holds whichever group truly has the highest rate. As 6 RCNY 5-300 defines the impact ratio of a selection rate.
    The ratio is the rate's ``value``; its counts are those of the group's rate.
    """
    known = {group: rate for group, rate in rates.items() if group != UNKNOWN and rate.fraction is not None}
    best = max((rate.fraction or Fraction(0) for rate in known.values()), default=Fraction(0))
    found: dict[str, Rate | None] = dict.fromkeys(rates)
    if len(known) < 2 or not best:
        return found
    each = pair_confidence(confidence, len(known))
    low, high = dict.fromkeys(known, 1.0), dict.fromkeys(known, 1.0)
    for a, b in permutations(known, 2):
        ends = ratio(known[a], known[b], confidence=each)
        low[a], high[a] = min(low[a], ends.low), min(high[a], ends.high)
    for group, rate in known.items():
        share = float((rate.fraction or Fraction(0)) / best)
        found[group] = replace(rate, value=share, low=low[group], high=high[group])
    return found


def parity_of(name: str, gaps: list[Gap]) -> Parity:
    """Return a named gap from the gaps it is formed of; their intervals must hold together."""
    return _impact(gaps) if name == "impact_ratio" else _worst(gaps)


def _worst(gaps: list[Gap]) -> Parity:
    """Return the clearest of several gaps, with extremes over all pairs of all of them; undefined if one is."""
    if any(gap.pair is None for gap in gaps):
        return Parity()
    surest = max(gaps, key=lambda gap: (gap.difference_low or 0.0, gap.difference or 0.0))
    return replace(Parity.of(surest), over_all_pairs=furthest_of([over_all_pairs(gap) for gap in gaps]))


def _impact(gaps: list[Gap]) -> Parity:
    """Return the clearest of the ratios; undefined if the smallest is."""
    (gap,) = gaps
    if gap.smallest_ratio_estimate is None:
        return Parity()
    found = Parity.of(gap.by_ratio())
    ratios = {name: found.over_all_pairs[name] for name in ("ratio", "ratio_low", "ratio_high")}
    return replace(
        found,
        difference=_rest(found.ratio),
        low=_rest(found.ratio_high),
        high=_rest(found.ratio_low),
        over_all_pairs={
            "difference": _rest(ratios["ratio"]),
            "low": _rest(ratios["ratio_high"]),
            "high": _rest(ratios["ratio_low"]),
            **ratios,
        },
    )


def _rest(ratio: float | None) -> float | None:
    return None if ratio is None else 1 - ratio


def furthest_of(all_pairs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the largest difference and smallest ratio of several; intervals that hold together form one."""
    found = [*all_pairs]
    return {
        name: None if any(one[name] is None for one in found) else pick(one[name] for one in found)
        for names, pick in ((("difference", "low", "high"), max), (("ratio", "ratio_low", "ratio_high"), min))
        for name in names
    }
