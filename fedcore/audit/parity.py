"""The usual names of gaps between groups: demographic parity, equal opportunity, equalized odds, impact ratio."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import permutations

from fedcore.audit.gaps import Gap, gap_between, pair_confidence, rate_ratio
from fedcore.audit.groups import UNKNOWN
from fedcore.audit.rates import Rate

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
    """A gap under its usual name; None where undefined.

    Attributes:
        difference: Highest minus lowest rate; of equalized odds the larger of two, of an impact ratio 1 - ratio.
        ratio: Lowest over highest rate; of equalized odds the smaller of two.
        low: Lower end of the difference's interval.
        high: Upper end.
        highest: Group of the highest rate.
        lowest: Group of the lowest rate.
    """

    difference: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    highest: str | None = None
    lowest: str | None = None


def parities(attribute: str, rates: Rates, *, confidence: float) -> dict[str, Parity]:
    """Return every named gap whose metrics are measured, over all groups given but "unknown".

    Each interval holds with the stated confidence: that of equalized odds is formed of two gaps' intervals at
    half the error each (Bonferroni).

    Args:
        attribute: Name of the attribute.
        rates: ``{metric: {group: rate}}``.
        confidence: Of each interval.
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
    holds whichever group is truly the highest. As 6 RCNY 5-300 defines the impact ratio of a selection rate.

    Returns:
        For each group a rate whose ``value`` is the ratio, and whose counts are those of the group's rate.
    """
    known = {group: rate for group, rate in rates.items() if group != UNKNOWN and rate.fraction is not None}
    best = max((rate.fraction or Fraction(0) for rate in known.values()), default=Fraction(0))
    found: dict[str, Rate | None] = dict.fromkeys(rates)
    if len(known) < 2 or not best:
        return found
    each = pair_confidence(confidence, len(known))
    low, high = dict.fromkeys(known, 1.0), dict.fromkeys(known, 1.0)
    for a, b in permutations(known, 2):
        ends = rate_ratio(known[a], known[b], confidence=each)
        low[a], high[a] = min(low[a], ends.low), min(high[a], ends.high)
    for group, rate in known.items():
        found[group] = Rate(
            value=float((rate.fraction or Fraction(0)) / best),
            low=low[group],
            high=high[group],
            successes=rate.successes,
            n=rate.n,
        )
    return found


def parity_of(name: str, gaps: list[Gap]) -> Parity:
    """Return what a name stands for, from the gaps that it is formed of; their intervals must hold together."""
    return _impact(gaps) if name == "impact_ratio" else _worst(gaps)


def _worst(gaps: list[Gap]) -> Parity:
    """Return the largest of several differences, and the smallest of their ratios; undefined if one is."""
    if any(gap.difference_fraction is None for gap in gaps):
        return Parity()
    worst = max(gaps, key=lambda gap: gap.difference_fraction or Fraction(0))
    ratios = [gap.ratio_fraction for gap in gaps if gap.ratio_fraction is not None]
    return Parity(
        difference=worst.difference,
        ratio=float(min(ratios)) if len(ratios) == len(gaps) else None,
        low=_largest([gap.difference_low for gap in gaps]),
        high=_largest([gap.difference_high for gap in gaps]),
        highest=worst.highest,
        lowest=worst.lowest,
    )


def _impact(gaps: list[Gap]) -> Parity:
    """Return the smallest of several ratios; undefined if one is."""
    if any(gap.ratio_fraction is None for gap in gaps):
        return Parity()
    worst = min(gaps, key=lambda gap: gap.ratio_fraction or Fraction(0))
    ratio = worst.ratio_fraction or Fraction(0)
    return Parity(
        difference=float(1 - ratio),
        ratio=float(ratio),
        low=1 - min(gap.ratio_high for gap in gaps if gap.ratio_high is not None),
        high=1 - min(gap.ratio_low for gap in gaps if gap.ratio_low is not None),
        highest=worst.highest,
        lowest=worst.lowest,
    )


def _largest(ends: list[float | None]) -> float:
    return max((end for end in ends if end is not None), default=math.nan)
