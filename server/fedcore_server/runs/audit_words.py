"""What a terminal says of a run's audit at its end, from the content of ``bias.json``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fedcore.audit.verdict.gate import Verdict
from fedcore.audit.verdict.hooks import Point

_MOST = 4
_WORST_FIRST = (Verdict.FAIL.value, Verdict.INCONCLUSIVE.value)

Content = Mapping[str, Any]


def audit_words(directory: Path) -> list[str]:
    """Lines about the audit of a finished run: why it did not pass."""
    return reasons(json.loads((directory / "bias.json").read_text(encoding="utf-8")))


def reasons(bias: Content, *, most: int = _MOST) -> list[str]:
    """Return what findings and hooks say that is no PASS, the worst first, and after `most` how many more there are.

    What is said after the release is among it, for no verdict tells of it.
    """
    found = sorted([*_findings(bias), *_decisions(bias)], key=lambda pair: _WORST_FIRST.index(pair[0]))
    told = list(dict.fromkeys(words for _, words in found))
    more = len(told) - most
    return told if more <= 0 else [*told[:most], f"and {more} more: see report.html"]


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
