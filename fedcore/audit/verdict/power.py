"""The smallest gap that the rows could show, for INCONCLUSIVE verdicts."""

from __future__ import annotations

import math
from collections.abc import Mapping

from fedcore.audit.metrics.catalogue import CATALOGUE, is_share
from fedcore.audit.metrics.gaps import Gap
from fedcore.audit.metrics.rate_gaps import pair_confidence
from fedcore.audit.metrics.rates import Rate
from fedcore.audit.statistics.intervals import normal_quantile
from fedcore.audit.verdict.attribute_audit import AttributeAudit
from fedcore.audit.verdict.limits import Limit

_POWER = normal_quantile(0.6)
"""0.84, the 80 % quantile: what is called detectable is detected in four of five samples."""


def detectable_difference(rates: Mapping[str, Rate], gap: Gap, *, confidence: float) -> float | None:
    """Return the smallest true difference that the gap's interval would separate from 0 in 80 % of samples.

    For the two compared groups of fewest rows n1 and n2: ``(z + z80) sqrt(p (1 - p) (1 / n1 + 1 / n2))`` with
    z the two-sided quantile of the pair's confidence, z80 = 0.84 the 80 % quantile, and p the rate over all
    groups compared with two successes and two failures added (Agresti and Coull 1998), so that it is never 0 or 1.
    A share in (0, 1], 1 if not even that is detected; None if fewer than two groups are compared.

    Source: Fleiss, Levin and Paik (2003), "Statistical Methods for Rates and Proportions", 3rd ed., sec. 4.2,
    solved for the difference, without continuity correction.
    """
    compared = [rates[group] for group in gap.groups_compared]
    if len(compared) < 2:
        return None
    first, second = sorted(rate.evidence[1] for rate in compared)[:2]
    p = _pooled(compared)
    return min(1.0, (_z(gap, confidence) + _POWER) * math.sqrt(p * (1 - p) * (1 / first + 1 / second)))


def detectable_ratio(rates: Mapping[str, Rate], gap: Gap, *, confidence: float) -> float | None:
    """Return the largest ratio under 1 that would be separated from equal rates in 80 % of samples.

    It is that of two rates ``detectable_difference`` apart, half of it to either side of the rate p over
    all groups: the test whether a ratio is 1 is the test whether a difference is 0.
    A ratio in [0, 1), 0 if none is detected; None if fewer than two groups are compared.
    """
    apart = detectable_difference(rates, gap, confidence=confidence)
    if apart is None:
        return None
    p = _pooled([rates[group] for group in gap.groups_compared])
    return max(0.0, (p - apart / 2) / (p + apart / 2))


def detectable_by_interval(half_width: float, *, z: float) -> float:
    """Return the smallest true distance that an interval as long would separate from 0 in 80 % of samples.

    ``half_width (1 + z80 / z)``: the half width is z standard errors, and z + z80 of them are detectable; z is the
    two-sided normal quantile of the interval's confidence.
    Source: Bloom, H. S. (1995), "Minimum detectable effects", Evaluation Review 19:547-556.
    """
    return half_width * (1 + _POWER / z)


def power_words(limit: Limit, audit: AttributeAudit, gap: Gap) -> str:
    """Return the gap that these rows could show, in words; empty if unknown.

    For rates computed from the rows of the groups, otherwise from the length of the interval.
    """
    confidence = audit.settings.confidence
    if limit.kind == "worst-group":
        return _distance_words(limit, gap, confidence)
    rates = audit.groups.get(limit.metric)
    if limit.kind == "ratio":
        return "" if rates is None else _ratio_words(detectable_ratio(rates, gap, confidence=confidence))
    if rates is not None:
        return _gap_words(limit, detectable_difference(rates, gap, confidence=confidence))
    if gap.furthest is None:
        return ""
    half = gap.furthest.difference.high - float(gap.furthest.apart)
    return _gap_words(limit, detectable_by_interval(half, z=_z(gap, confidence)))


def _gap_words(limit: Limit, smallest: float | None) -> str:
    if smallest is None or not math.isfinite(smallest):
        return ""
    if smallest >= 1 and CATALOGUE[limit.metric].at_most_one:
        return "so few examples can detect no gap at all"
    return f"this many examples can detect a gap of {_difference_text(limit, smallest)} or more"


def _ratio_words(largest: float | None) -> str:
    if largest is None:
        return ""
    if largest <= 0:
        return "so few examples cannot separate any ratio from equal rates"
    return f"this many examples can separate a ratio of {largest:.2f} or less from equal rates"


def _distance_words(limit: Limit, gap: Gap, confidence: float) -> str:
    most = limit.at_most is not None
    if not gap.alone:
        return ""
    reach = (lambda one: one[1].high) if most else (lambda one: -one[1].low)
    side, ends = max(gap.alone, key=reach)
    half = max(float(side.rate) - ends.low, ends.high - float(side.rate))
    z = normal_quantile(1 - (1 - confidence) / len(gap.groups_compared))
    smallest = detectable_by_interval(half, z=z)
    if not math.isfinite(smallest):
        return ""
    least = _difference_text(limit, smallest)
    return f"this many examples can separate a value from the limit if it is {least} or more away"


def _difference_text(limit: Limit, value: float) -> str:
    return f"{100 * value:.1f} points" if is_share(limit.metric) else f"{value:.3g}"


def _z(gap: Gap, confidence: float) -> float:
    return normal_quantile(pair_confidence(confidence, len(gap.groups_compared)))


def _pooled(compared: list[Rate]) -> float:
    successes, rows = zip(*(rate.evidence for rate in compared), strict=True)
    return float((sum(successes) + 2) / (sum(rows) + 4))
