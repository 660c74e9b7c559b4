"""A gap as JSON and as a line: its named pair with intervals, and how far any two groups may be apart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fedcore.audit.metrics.catalogue import RATES
from fedcore.audit.metrics.gaps import Gap
from fedcore.audit.metrics.parity import Parity, count_json
from fedcore.audit.statistics.pairs import count_words


def gap_json(gap: Gap) -> dict[str, Any]:
    """Return the named pair with its direction in words; ``low`` and ``high`` are the ends of its difference.

    Limits are judged by ``over_all_pairs``, the largest difference and the smallest ratio of any two groups.
    """
    return {**asdict(Parity.of(gap)), **explained_json(gap)}


def explained_json(gap: Gap) -> dict[str, Any]:
    return {
        "words": gap.words,
        "furthest": gap.furthest_words,
        "undefined": list(gap.undefined),
        "compared": list(gap.groups_compared),
    }


def directed_json(gap: Gap) -> dict[str, Any]:
    """Return a gap to a reference: group minus reference, and group over reference."""
    one, counts = gap.directed, {} if gap.pair is None else {"highest": gap.highest, "lowest": gap.lowest}
    if one is None:
        names = ("difference", "low", "high", "ratio", "ratio_low", "ratio_high", "highest", "lowest", "count")
        return {**dict.fromkeys([*names, "reference_count"]), "words": gap.words}
    ratio = one.ratio_ends
    return {
        "difference": float(one.difference),
        "low": one.ends.low,
        "high": one.ends.high,
        "ratio": None if one.ratio is None else float(one.ratio),
        "ratio_low": None if ratio is None else ratio.low,
        "ratio_high": None if ratio is None or math.isinf(ratio.high) else ratio.high,
        **counts,
        "count": count_json(one.group),
        "reference_count": count_json(one.reference),
        "words": gap.words,
    }


def between_words(gap: Mapping[str, Any]) -> str:
    """Return the groups of a gap in JSON with their counts, or why there are none."""
    if gap.get("highest") is None or gap.get("lowest") is None:
        return "fewer than two groups have a rate"
    widest = gap.get("over_all_pairs", {}).get("difference", gap.get("difference"))
    if not widest:
        return "equal in every group"
    return f"{_counted(gap, 'highest')} over {_counted(gap, 'lowest')}"


def _counted(gap: Mapping[str, Any], side: str) -> str:
    count = gap.get(f"{side}_count")
    return gap[side] if count is None else f"{gap[side]} ({count_words(count['counted'], count['of'])})"


def gap_line(gap: Gap) -> str:
    """Return the named pair with its direction, counts, interval and ratio, and the largest possible gap of any two."""
    return f"{gap.words}{reach_words(gap)}"


def reach_words(gap: Gap) -> str:
    """Return the interval, the ratio with its own, and how far any two groups may be apart."""
    line = gap.interval_words
    if gap.ratio_words:
        line += f", ratio {gap.ratio_words}"
    elif gap.pair is not None and gap.metric in RATES:
        line += ", ratio undefined"
    return "; ".join(filter(None, [line, gap.furthest_words]))
