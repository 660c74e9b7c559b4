"""How many rows a PASS would need, for INCONCLUSIVE verdicts.

It is assumed that more rows have the same rates. They will not exactly, so the number is for planning, not a promise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

from fedcore.audit.metrics.catalogue import CATALOGUE
from fedcore.audit.metrics.gaps import Gap
from fedcore.audit.metrics.rate_gaps import pair_confidence
from fedcore.audit.statistics.intervals import difference_interval, exact_interval, koopman_interval
from fedcore.audit.statistics.pairs import Side, at_most_one, unsigned
from fedcore.audit.verdict.attribute_audit import AttributeAudit
from fedcore.audit.verdict.limits import Limit

_MOST = 10**9
_AMONG = {"TP FN": "favourable rows", "FP TN": "other rows", "TP FP": "selected rows", "FN TN": "rows not selected"}


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
