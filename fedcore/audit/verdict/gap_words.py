"""A gap as one line: its named pair with intervals, and how far any two groups may be apart."""

from __future__ import annotations

from fedcore.audit.metrics.catalogue import RATES
from fedcore.audit.metrics.gaps import Gap


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
