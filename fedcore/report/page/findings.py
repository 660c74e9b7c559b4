"""Results of the gate and the hooks, in lines of the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedcore.report.page.run_record import Bias
from fedcore.report.page.wording import capitalised


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding; `subject` is the limit or the hook, `verdict` is empty if nothing was judged."""

    verdict: str
    subject: str
    words: tuple[str, ...]


def findings(bias: Bias) -> list[Finding]:
    found = [_finding(one) for one in bias.findings]
    said = {str(one.get("reason")) for one in bias.findings}
    for decision in bias.decisions:
        words = tuple(str(one) for one in decision.get("findings") or () if str(one) not in said)
        if words or not decision.get("findings"):
            subject = str(decision.get("hook") or "hook")
            subject += f" ({decision['point']})" if decision.get("point") else ""
            found.append(Finding(verdict=str(decision.get("verdict") or ""), subject=subject, words=words))
    return found


def _finding(content: Mapping[str, Any]) -> Finding:
    """Return one finding; the limit and verdict at the start of its reason are not repeated."""
    verdict, reason = str(content.get("verdict") or ""), str(content.get("reason") or "")
    limit, _, rest = reason.partition(f": {verdict}; ")
    if rest:
        subject, reason = limit, rest
    else:
        subject = ": ".join(str(content[key]) for key in ("limit", "attribute") if content.get(key)) or "finding"
    known = ("verdict", "reason", "limit", "metric", "attribute")
    more = [f"{key.replace('_', ' ')}: {value}" for key, value in content.items() if key not in known and value]
    return Finding(
        verdict=verdict, subject=capitalised(subject), words=tuple(filter(None, [capitalised(reason), *more]))
    )
