"""The clearest gap between two groups, in words and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedcore.audit.metrics.catalogue import RATES
from fedcore.audit.verdict.gap_json import between_words
from fedcore.audit.verdict.shown import ratio_ends
from fedcore.report.page.wording import NOT_DEFINED, Quantity, difference_reach, difference_text, ratio_text
from fedcore.report.pictures.figures import Table

Gap = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class GapLine:
    metric: str
    between: str
    difference: str
    ratio: str


def gap_lines(gaps: Mapping[str, Gap]) -> list[GapLine]:
    return [
        GapLine(
            metric=Quantity.of(metric).words,
            between=between_words(gap),
            difference=_difference(metric, gap),
            ratio=_ratio(metric, gap),
        )
        for metric, gap in gaps.items()
    ]


def gap_table(gaps: Mapping[str, Gap]) -> Table:
    rows = [[line.metric, line.between, line.difference, line.ratio or "–"] for line in gap_lines(gaps)]
    return Table(columns=["metric", "higher over lower", "difference", "ratio"], rows=rows)


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
