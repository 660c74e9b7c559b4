"""The terminal's lines about the audit at the end of a run, from the content of ``bias.json``."""

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
    """Why the audit of a finished run did not pass; empty where it did."""
    return reasons(json.loads((directory / "bias.json").read_text(encoding="utf-8")))


def reasons(bias: Content, *, most: int = _MOST) -> list[str]:
    """Reasons against a PASS from findings and hooks, the worst first; after `most`, how many more there are.

    Answers after the release are included, since no verdict contains them.
    """
    found = sorted([*_findings(bias), *_decisions(bias)], key=lambda pair: _WORST_FIRST.index(pair[0]))
    lines = list(dict.fromkeys(words for _, words in found))
    more = len(lines) - most
    return lines if more <= 0 else [*lines[:most], f"and {more} more: see report.html"]


def _findings(bias: Content) -> Iterator[tuple[str, str]]:
    for finding in bias.get("findings", ()):
        if finding["verdict"] in _WORST_FIRST:
            yield finding["verdict"], finding["reason"]


def _decisions(bias: Content) -> Iterator[tuple[str, str]]:
    """Objections of hooks, without the gate's repetition of the findings."""
    judged = {finding["reason"] for finding in bias.get("findings", ())}
    for one in bias.get("decisions", ()):
        if one["verdict"] not in _WORST_FIRST:
            continue
        late = "after the release, " if one.get("point") == Point.AFTER_RELEASE.value else ""
        for words in one["findings"] or ["it gives no reason"]:
            if words not in judged:
                yield one["verdict"], f"{late}hook {one['hook']}: {one['verdict']}; {words}"
