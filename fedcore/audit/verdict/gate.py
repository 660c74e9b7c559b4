"""Judging limits.

A verdict needs evidence in either direction; too little of it is a result of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from typing import Any, TypeVar

from fedcore.audit.metrics.catalogue import is_share
from fedcore.audit.metrics.gaps import Gap
from fedcore.audit.statistics.pairs import Ends
from fedcore.audit.verdict.attribute_audit import AttributeAudit
from fedcore.audit.verdict.evidence import power_words, rows_words
from fedcore.audit.verdict.limits import Limit

Number = TypeVar("Number", float, Fraction)


class Verdict(StrEnum):
    """What the evidence shows about a limit."""

    PASS = "PASS"  # noqa: S105  (a verdict, not a password)
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


_UNKNOWN = (-math.inf, math.inf)
_WORST_FIRST = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)


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
    found = [(_ends(limit, gap) or _UNKNOWN, _judge_gap(limit, one, gap)) for one, gap in audit.gaps_held(limit)]
    if not found:
        reason = f"{limit.metric} is not measured here, or there are no two groups to compare"
        return _finding(limit, audit.attribute, Verdict.INCONCLUSIVE, reason, None)
    worst = next(verdict for verdict in _WORST_FIRST if any(finding.verdict is verdict for _, finding in found))
    end = 0 if worst is Verdict.FAIL else 1
    return max((pair for pair in found if pair[1].verdict is worst), key=lambda pair: pair[0][end])[1]


def _judge_gap(limit: Limit, audit: AttributeAudit, gap: Gap) -> Finding:
    low, high = _ends(limit, gap) or _UNKNOWN
    bound = _turned(limit, limit.bound)
    meets = high <= bound
    if low > bound:
        verdict = Verdict.FAIL
    elif meets and not gap.undefined and _estimate_meets(limit, gap) is not None:
        verdict = Verdict.PASS
    else:
        verdict = Verdict.INCONCLUSIVE
    reason = _reason(limit, audit, gap, verdict, meets=meets)
    return _finding(limit, audit.attribute, verdict, reason, _estimate_meets(limit, gap))


def overall(verdicts: Iterable[Verdict | None]) -> Verdict | None:
    """Return FAIL if any is, else INCONCLUSIVE if any is, else PASS; None if nothing was judged."""
    found = {*verdicts}
    return next((verdict for verdict in _WORST_FIRST if verdict in found), None)


def _turned(limit: Limit, value: Number) -> Number:
    """Return the value, negated if the limit is a least one, so that less is always better."""
    return value if limit.at_most is not None else -value


def _ends(limit: Limit, gap: Gap) -> Ends | None:
    """Return the interval of the largest gap, or of the worst value, whichever groups truly have it, as turned."""
    if limit.kind == "worst-group":
        ends = gap.highest_ends if limit.at_most is not None else gap.lowest_ends
    else:
        ends = gap.widest if limit.kind == "difference" else gap.smallest_ratio
    if ends is None or limit.at_most is not None:
        return ends
    return -ends[1], -ends[0]


def _estimate_meets(limit: Limit, gap: Gap) -> bool | None:
    estimate = gap.widest_estimate if limit.kind == "difference" else gap.smallest_ratio_estimate
    if limit.kind == "worst-group":
        turned = [_turned(limit, side.rate) for side, _ in gap.alone]
        return max(turned) <= _turned(limit, limit.bound) if turned else None
    return None if estimate is None else _turned(limit, estimate) <= _turned(limit, limit.bound)


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
    if worst is None or ends is None:
        return gap.words
    side, own = worst
    shares = is_share(gap.metric)
    low, high = (f"{100 * end:.1f}" if shares else gap.plain_words(end) for end in (own.low, own.high))
    words = f"{gap.name}: {side.group} {gap.value_words(side.rate)} ({side.count}; {low} to {high})"
    reach = _turned(limit, ends[1])
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
