"""For INCONCLUSIVE verdicts: how many rows a PASS would need, and the smallest gap that the rows could show.

It is assumed that more rows have the same rates. They will not exactly, so the number is for planning, not a promise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction

from fedcore.audit.metrics.catalogue import CATALOGUE, is_share
from fedcore.audit.metrics.gaps import Gap
from fedcore.audit.metrics.group_gaps import pair_confidence
from fedcore.audit.metrics.rates import Rate
from fedcore.audit.statistics.intervals import difference_interval, exact_interval, koopman_interval, normal_quantile
from fedcore.audit.statistics.pairs import Side, at_most_one, unsigned
from fedcore.audit.verdict.attribute_audit import AttributeAudit
from fedcore.audit.verdict.limits import Limit

_MOST = 10**9
_AMONG = {"TP FN": "favourable rows", "FP TN": "other rows", "TP FP": "selected rows", "FN TN": "rows not selected"}
_POWER = normal_quantile(0.6)
"""0.84, the 80 % quantile: what is called detectable is detected in four of five samples."""


def rows_words(limit: Limit, audit: AttributeAudit, gap: Gap) -> str:
    """Return how many rows of each group a PASS would need, in words; empty if unknown.

    Known for rates without noise and without sampling weights. Every group is taken to have as many rows, with the
    rates seen; the groups with the highest and the lowest rate decide.
    """
    sides = [side for side, _ in gap.alone]
    rates = audit.groups.get(limit.metric, {}).values()
    if not rates or not sides or any(rate.noise.present or rate.weighted for rate in rates):
        return ""
    most, least = max(sides, key=lambda side: side.rate), min(sides, key=lambda side: side.rate)
    if not _is_met(limit, most.rate, least.rate):
        if limit.kind == "worst-group":
            return ""  # the worst group is named already, with its value
        apart = f"{most.group} ({most.count}) and {least.group} ({least.count})"
        return f"at the rates seen no number of rows would give a PASS: {apart} are beyond the limit"
    needed = _fewest(_passes(limit, _confidence(limit, audit), len(sides), most, least))
    _, among = CATALOGUE[limit.metric].cells or ("", "")
    rows = _AMONG.get(among, "rows")
    fewest = min(sides, key=lambda side: side.n)
    if needed is None:
        return f"at the rates seen more than {_MOST:,} {rows} of each group would be needed for a PASS"
    least_rows = f"{fewest.group} has {fewest.n:,}"
    return f"at the rates seen a PASS needs about {_rounded(needed):,} {rows} of each group; {least_rows}"


def _confidence(limit: Limit, audit: AttributeAudit) -> float:
    if audit.reference is None or limit.kind == "worst-group":
        return audit.settings.confidence
    return 1 - (1 - audit.settings.confidence) / max(1, len(audit.to_reference))


def _is_met(limit: Limit, most: Fraction, least: Fraction) -> bool:
    if limit.kind == "worst-group":
        return most < limit.at_most if limit.at_most is not None else least > (limit.at_least or 0)
    if limit.at_most is not None:
        return most - least < limit.at_most
    return bool(most) and least / most > (limit.at_least or 0)


def _passes(limit: Limit, confidence: float, groups: int, most: Side, least: Side) -> Callable[[int], bool]:
    high, low = float(most.rate), float(least.rate)

    def passes(n: int) -> bool:
        if limit.kind == "worst-group":
            rate = high if limit.at_most is not None else low
            ends = exact_interval(rate * n, n, confidence=1 - (1 - confidence) / groups)
            return ends.high <= limit.at_most if limit.at_most is not None else ends.low >= (limit.at_least or 0)
        each = pair_confidence(confidence, groups)
        if limit.at_most is not None:
            return unsigned(difference_interval(high * n, n, low * n, n, confidence=each)).high <= limit.at_most
        return at_most_one(koopman_interval(low * n, n, high * n, n, confidence=each)).low >= (limit.at_least or 0)

    return passes


def _fewest(passes: Callable[[int], bool]) -> int | None:
    """Return the fewest rows that pass, by doubling and halving; None if not even the most do."""
    high = 1
    while not passes(high):
        if high > _MOST:
            return None
        high *= 2
    low = high // 2
    while high - low > max(1, low // 200):
        middle = (low + high) // 2
        low, high = (low, middle) if passes(middle) else (middle, high)
    return high


def _rounded(n: int) -> int:
    """Round up to two digits: more would suggest too much precision."""
    step = int(10 ** max(0, math.floor(math.log10(n)) - 1))
    return -(-n // step) * step


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
