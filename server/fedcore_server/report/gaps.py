"""The distance between the best and the worst served group, in words and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedcore.audit.rates import METRICS
from fedcore.audit.shown import ratio_ends
from fedcore_server.report.figures import Table
from fedcore_server.report.quantities import Quantity
from fedcore_server.report.wording import NOT_DEFINED, difference_reach, difference_text, ratio_text

Gap = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class GapLine:
    """One metric's widest gap.

    Attributes:
        ratio: With its interval; empty where it has none.
    """

    metric: str
    between: str
    difference: str
    ratio: str


def gap_lines(gaps: Mapping[str, Gap]) -> list[GapLine]:
    """Return ``{metric: gap}`` as it is shown."""
    return [
        GapLine(
            metric=Quantity.of(metric).words,
            between=_between(gap),
            difference=difference_text(metric, gap.get("difference"), gap.get("low"), gap.get("high")),
            ratio=_ratio(metric, gap),
        )
        for metric, gap in gaps.items()
    ]


def gap_table(gaps: Mapping[str, Gap]) -> Table:
    """Return every metric's gap."""
    rows = [[line.metric, line.between, line.difference, line.ratio or "–"] for line in gap_lines(gaps)]
    return Table(columns=["metric", "highest over lowest", "difference", "ratio"], rows=rows)


def gap_sentence(metric: str, gap: Gap) -> str:
    """Return the gap with its direction and its interval; empty if there is none."""
    words = str(gap.get("words") or "").partition(": ")[2]
    if not words or gap.get("difference") is None:
        return ""
    return f"Gap: {words}{difference_reach(metric, gap.get('low'), gap.get('high'))}."


def _ratio(metric: str, gap: Gap) -> str:
    ends = ratio_ends(metric, gap)
    if ends is None:
        return NOT_DEFINED if metric in METRICS and gap.get("ratio") is None else ""
    return ratio_text(gap["ratio"], *ends)


def _between(gap: Gap) -> str:
    if gap.get("highest") is None or gap.get("lowest") is None:
        return "fewer than two groups have a rate"
    return f"{gap['highest']} over {gap['lowest']}" if gap.get("difference") else "equal in every group"
