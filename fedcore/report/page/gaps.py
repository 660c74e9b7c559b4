"""The clearest gap between two groups, in words and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedcore.audit.metrics.catalogue import RATES
from fedcore.audit.verdict.gap_json import between_words
from fedcore.audit.verdict.shown import ratio_ends
from fedcore.report.page.wording import NOT_DEFINED, Quantity, difference_reach, difference_text, ratio_text
from fedcore.report.pictures.figures import Table

Gap = Mapping[str, Any]


def gap_rows(gaps: Mapping[str, Gap], *, without: str = "") -> list[list[str]]:
    """Return the metric, the groups, the difference and the ratio of each gap, ``without`` where there is no ratio."""
    return [
        [Quantity.of(metric).words, between_words(gap), _difference(metric, gap), _ratio(metric, gap) or without]
        for metric, gap in gaps.items()
    ]


def gap_table(gaps: Mapping[str, Gap]) -> Table:
    return Table(columns=["metric", "higher over lower", "difference", "ratio"], rows=gap_rows(gaps, without="–"))


def gap_sentence(metric: str, gap: Gap) -> str:
    words = str(gap.get("words") or "").partition(": ")[2]
    if not words or gap.get("difference") is None:
        return ""
    reach = difference_reach(metric, gap.get("low"), gap.get("high"))
    return f"Gap: {'; '.join(filter(None, [words + reach, str(gap.get('furthest') or '')]))}."


def _difference(metric: str, gap: Gap) -> str:
    text = difference_text(metric, gap.get("difference"), gap.get("low"), gap.get("high"))
    return "; ".join(filter(None, [text, str(gap.get("furthest") or "").partition(":")[0]]))


def _ratio(metric: str, gap: Gap) -> str:
    ends = ratio_ends(gap)
    if ends is None:
        return NOT_DEFINED if metric in RATES and gap.get("ratio") is None else ""
    return ratio_text(gap["ratio"], *ends)
