"""Judging limits.

A verdict needs evidence in either direction; too little of it is a result of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from typing import Any, Protocol

from fedcore.audit.metrics.catalogue import is_share
from fedcore.audit.metrics.gaps import Gap
from fedcore.audit.verdict.attribute_audit import AttributeAudit
from fedcore.audit.verdict.limits import Limit
from fedcore.audit.verdict.power import power_words
from fedcore.audit.verdict.rows_needed import rows_words

__all__ = ["Finding", "Limit", "Verdict", "judge", "judge_all", "overall"]


class Verdict(StrEnum):
    """What the evidence shows about a limit."""

    PASS = "PASS"  # noqa: S105  (a verdict, not a password)
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


_WORST_FIRST = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)


class Judged(Protocol):
    """Anything with a verdict; None if nothing was judged."""

    @property
    def verdict(self) -> Verdict | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One limit judged for one attribute.

    Attributes:
        reason: One sentence, without numbers from which a suppressed group could be computed.
        estimate_meets: Whether the estimate alone is within the limit, in exact arithmetic; None if
            undefined. For information: the verdict rests on the interval.
    """

    limit: Limit
    attribute: str
    verdict: Verdict
    reason: str
    estimate_meets: bool | None

    def to_json(self) -> dict[str, Any]:
        return {
            "limit": self.limit.words,
            "metric": self.limit.metric,
            "attribute": self.attribute,
            "verdict": self.verdict.value,
            "reason": self.reason,
        }


def judge_all(limits: Iterable[Limit], audits: Mapping[str, AttributeAudit]) -> tuple[Finding, ...]:
    """Judge every limit for every attribute it names, once each; without an audit the finding is INCONCLUSIVE."""
    held: dict[Limit, tuple[Limit, str]] = {}
    for limit in limits:
        for name in (list(audits) if limit.attribute == "*" else []) or [limit.attribute]:
            held.setdefault(replace(limit, attribute=name), (limit, name))
    return tuple(
        judge(limit, audits[name]) if name in audits else _unaudited(limit, name) for limit, name in held.values()
    )


def judge(limit: Limit, audit: AttributeAudit) -> Finding:
    """Judge one limit for one attribute.

    PASS only if the whole interval meets the limit and every declared group has a rate; FAIL only if the whole
    interval breaks it (a group without a rate cannot make a gap smaller); else INCONCLUSIVE. If several gaps must
    keep the limit, of classes or to a reference, the finding is the worst: of broken limits the most certain one, of
    others the one whose interval reaches furthest.
    """
    found = [(gap, _judge_gap(limit, one, gap)) for one, gap in audit.gaps_held(limit)]
    if not found:
        reason = f"{limit.metric} is not measured here, or there are no two groups to compare"
        return _finding(limit, audit.attribute, Verdict.INCONCLUSIVE, reason, None)
    worst = next(verdict for verdict in _WORST_FIRST if any(finding.verdict is verdict for _, finding in found))
    by = _surely if worst is Verdict.FAIL else _reach
    return max(((gap, each) for gap, each in found if each.verdict is worst), key=lambda pair: by(limit, pair[0]))[1]


def _judge_gap(limit: Limit, audit: AttributeAudit, gap: Gap) -> Finding:
    meets, breaks = _interval_meets(limit, gap)
    if breaks:
        verdict = Verdict.FAIL
    elif meets and not _missing(limit, gap):
        verdict = Verdict.PASS
    else:
        verdict = Verdict.INCONCLUSIVE
    reason = _reason(limit, audit, gap, verdict, meets=meets)
    return _finding(limit, audit.attribute, verdict, reason, _estimate_meets(limit, gap))


def overall(judged: Iterable[Judged]) -> Verdict | None:
    """Return FAIL if any is, else INCONCLUSIVE if any is, else PASS; None if nothing was judged."""
    verdicts = {one.verdict for one in judged}
    for verdict in _WORST_FIRST:
        if verdict in verdicts:
            return verdict
    return None


def _interval_meets(limit: Limit, gap: Gap) -> tuple[bool, bool]:
    """Whether the whole interval meets the limit, and whether the whole interval breaks it."""
    low, high = _ends(limit, gap)
    if low is None or high is None:
        return False, False
    if limit.at_most is not None:
        return high <= limit.at_most, low > limit.at_most
    return low >= _bound(limit), high < _bound(limit)


def _reach(limit: Limit, gap: Gap) -> float:
    """Return how far the interval reaches beyond the limit; an undefined gap reaches furthest."""
    low, high = _ends(limit, gap)
    if low is None or high is None:
        return math.inf
    return high if limit.at_most is not None else -low


def _surely(limit: Limit, gap: Gap) -> float:
    low, high = _ends(limit, gap)
    if low is None or high is None:
        return -math.inf
    return low if limit.at_most is not None else -high


def _estimate_meets(limit: Limit, gap: Gap) -> bool | None:
    estimate = _estimate(limit, gap)
    if estimate is None:
        return None
    return estimate <= _bound(limit) if limit.at_most is not None else estimate >= _bound(limit)


def _estimate(limit: Limit, gap: Gap) -> Fraction | None:
    if limit.kind == "worst-group":
        rates = [side.rate for side, _ in gap.alone]
        return max(rates, default=None) if limit.at_most is not None else min(rates, default=None)
    return gap.widest_estimate if limit.kind == "difference" else gap.smallest_ratio_estimate


def _bound(limit: Limit) -> Fraction:
    return next(bound for bound in (limit.at_most, limit.at_least) if bound is not None)


def _ends(limit: Limit, gap: Gap) -> tuple[float | None, float | None]:
    """Return the interval of the largest gap, or of the worst value, whichever groups truly have it."""
    if limit.kind == "worst-group":
        return (gap.highest_ends if limit.at_most is not None else gap.lowest_ends) or (None, None)
    return (gap.widest if limit.kind == "difference" else gap.smallest_ratio) or (None, None)


def _missing(limit: Limit, gap: Gap) -> bool:
    return bool(gap.undefined) or _estimate_meets(limit, gap) is None


def _reason(limit: Limit, audit: AttributeAudit, gap: Gap, verdict: Verdict, *, meets: bool) -> str:
    hidden = sorted(group for group in {*gap.undefined, *gap.groups_compared} if audit.hides(limit.metric, group))
    numbers = _numbers(limit, gap)
    if hidden:
        numbers = f"judged with groups too small to be shown ({', '.join(hidden)}), so without numbers here"
    parts = [f"{replace(limit, attribute=audit.attribute).words}: {verdict}", numbers]
    if verdict is Verdict.INCONCLUSIVE:
        parts.append(_missing_words(limit, gap, hidden))
    if verdict is Verdict.INCONCLUSIVE and not meets and not hidden:
        parts += [power_words(limit, audit, gap), rows_words(limit, audit, gap)]
    return "; ".join(part for part in parts if part)


def _missing_words(limit: Limit, gap: Gap, hidden: list[str]) -> str:
    named = [group for group in gap.undefined if group not in hidden]
    if named:
        return f"the rate is undefined for {', '.join(named)}"
    if limit.kind == "ratio" and gap.pair is not None and gap.smallest_ratio_estimate is None and not hidden:
        return "the ratio is undefined, because every rate is 0"
    return ""


def _numbers(limit: Limit, gap: Gap) -> str:
    """Return the clearest gap with its interval and counts, and what else decides the verdict."""
    if limit.kind == "worst-group":
        return _worst_words(limit, gap)
    if limit.kind == "difference":
        return _joined(f"{gap.words}{gap.interval_words}", gap.furthest_words)
    gap = gap.by_ratio()
    if gap.pair is None:
        return gap.words
    return _joined(f"{gap.words}, ratio {gap.ratio_words or 'undefined'}", _inverse_words(gap), gap.furthest_words)


def _inverse_words(gap: Gap) -> str:
    """Return the ratio that is judged, if a group's ratio to its reference is over 1; else nothing."""
    if gap.directed is None or (gap.directed.ratio or 0) <= 1 or gap.ratio_low is None or gap.ratio_high is None:
        return ""
    held = f"{gap.ratio:.3f} ({gap.ratio_low:.3f} to {gap.ratio_high:.3f})"
    return f"the limit is held to the lower over the higher rate, {held}"


def _worst_words(limit: Limit, gap: Gap) -> str:
    """Return the group that is certainly the worst, and the worst possible value of any group."""
    most = limit.at_most is not None
    worst, ends = gap.most if most else gap.least, _ends(limit, gap)
    if worst is None or ends[0] is None or ends[1] is None:
        return gap.words
    side, own = worst
    shares = is_share(gap.metric)
    low, high = (f"{100 * end:.1f}" if shares else gap.plain_words(end) for end in (own.low, own.high))
    words = f"{gap.name}: {side.group} {gap.value_words(side.rate)} ({side.count}; {low} to {high})"
    reach = ends[1] if most else ends[0]
    if reach == (own.high if most else own.low):
        return words
    any_group = f"{100 * reach:.1f} %" if shares else gap.plain_words(reach)
    return _joined(words, f"any group at {'most' if most else 'least'} {any_group}")


def _joined(*words: str) -> str:
    return "; ".join(filter(None, words))


def _unaudited(limit: Limit, attribute: str) -> Finding:
    what = "no attribute is audited" if attribute == "*" else f"attribute {attribute!r} is not audited"
    return _finding(limit, attribute, Verdict.INCONCLUSIVE, what, None)


def _finding(limit: Limit, attribute: str, verdict: Verdict, reason: str, meets: bool | None) -> Finding:
    return Finding(limit=limit, attribute=attribute, verdict=verdict, reason=reason, estimate_meets=meets)
