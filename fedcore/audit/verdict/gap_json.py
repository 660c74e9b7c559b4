"""A gap as JSON: its named pair, and what holds for any two groups."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fedcore.audit.metrics.gaps import Gap
from fedcore.audit.statistics.pairs import Side, count_words


def gap_json(gap: Gap) -> dict[str, Any]:
    """Return the named pair with its direction in words; ``low`` and ``high`` are the ends of its difference.

    Limits are judged by ``over_all_pairs``, the largest difference and the smallest ratio of any two groups.
    """
    return {
        "difference": gap.difference,
        "low": gap.difference_low,
        "high": gap.difference_high,
        "ratio": gap.ratio,
        "ratio_low": gap.ratio_low,
        "ratio_high": gap.ratio_high,
        "highest": gap.highest,
        "lowest": gap.lowest,
        "highest_count": None if gap.pair is None else count_json(gap.pair.highest),
        "lowest_count": None if gap.pair is None else count_json(gap.pair.lowest),
        "over_all_pairs": over_all_pairs(gap),
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


def count_json(side: Side) -> dict[str, Any]:
    """Return ``{counted, of}``: rows counted among the rows behind a rate; null for other metrics."""
    return {"counted": side.counted, "of": side.n}


def over_all_pairs(gap: Gap) -> dict[str, Any]:
    """Return the largest difference and smallest ratio of any two groups: estimates, and ends of intervals."""
    difference, ratio = gap.widest_estimate, gap.smallest_ratio_estimate
    (low, high), (ratio_low, ratio_high) = gap.widest or (None, None), gap.smallest_ratio or (None, None)
    return {
        "difference": None if difference is None else float(difference),
        "low": low,
        "high": high,
        "ratio": None if ratio is None else float(ratio),
        "ratio_low": ratio_low,
        "ratio_high": ratio_high,
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
