"""What a terminal says of a run's audit at its end, from the content of ``bias.json``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fedcore.audit.gate import Verdict
from fedcore.audit.groups import UNKNOWN
from fedcore.audit.hooks import Point

_MOST = 4
_WORST_FIRST = (Verdict.FAIL.value, Verdict.INCONCLUSIVE.value)

Content = Mapping[str, Any]


def audit_words(directory: Path) -> list[str]:
    """Lines about the audit of a finished run: why it did not pass, and the thresholds that were asked for."""
    bias = json.loads((directory / "bias.json").read_text(encoding="utf-8"))
    return [*reasons(bias), *thresholds(bias)]


def reasons(bias: Content, *, most: int = _MOST) -> list[str]:
    """Return what findings and hooks say that is no PASS, the worst first, and after `most` how many more there are.

    What is said after the release is among it, for no verdict tells of it.
    """
    found = sorted([*_findings(bias), *_decisions(bias)], key=lambda pair: _WORST_FIRST.index(pair[0]))
    told = list(dict.fromkeys(words for _, words in found))
    more = len(told) - most
    return told if more <= 0 else [*told[:most], f"and {more} more: see report.html"]


def thresholds(bias: Content) -> Iterator[str]:
    """Return the proposed thresholds of each attribute, and once the legal warning, where they were asked for."""
    found = bias.get("group_thresholds") or {}
    for attribute, one in found.items():
        own = [f"{group} {of['threshold']:g}" for group, of in one["groups"].items() if _has_its_own(group, of)]
        told = ", ".join(own) or "no group has one of its own"
        yield (
            f"thresholds by {attribute}, proposed and not in use, to close the gap in "
            f"{one['metric'].replace('_', ' ')}: {told}; for all others {one['threshold']:g} "
            f"(selected: {one['selected']})"
        )
    yield from dict.fromkeys(one["warning"] for one in found.values())


def _findings(bias: Content) -> Iterator[tuple[str, str]]:
    for finding in bias.get("findings", ()):
        if finding["verdict"] in _WORST_FIRST:
            yield finding["verdict"], finding["reason"]


def _decisions(bias: Content) -> Iterator[tuple[str, str]]:
    """What hooks object to, without what the gate repeats of the findings."""
    judged = {finding["reason"] for finding in bias.get("findings", ())}
    for one in bias.get("decisions", ()):
        if one["verdict"] not in _WORST_FIRST:
            continue
        late = "after the release, " if one.get("point") == Point.AFTER_RELEASE.value else ""
        for words in one["findings"] or ["it gives no reason"]:
            if words not in judged:
                yield one["verdict"], f"{late}hook {one['hook']}: {one['verdict']}; {words}"


def _has_its_own(group: str, one: Content) -> bool:
    return group != UNKNOWN and not one["kept"]
