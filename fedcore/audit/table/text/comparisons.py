"""Gaps in words: over all groups, of each class against the others, and to a reference group."""

from __future__ import annotations

from collections.abc import Iterator

from fedcore.audit.metrics.catalogue import CATALOGUE, shown_in
from fedcore.audit.metrics.gaps import Gap
from fedcore.audit.table.text.columns import aligned
from fedcore.audit.verdict.gap_words import gap_line
from fedcore.audit.verdict.shown import Shown
from fedcore.text.figures import figure_text


def points_words(difference: float | None, low: float | None, high: float | None) -> str:
    """Return a difference of shares and its interval in points, or that it is undefined."""
    if difference is None or low is None or high is None:
        return "undefined"
    return f"{100 * difference:.1f} points ({100 * low:.1f} to {100 * high:.1f})"


def class_lines(shown: Shown) -> Iterator[str]:
    """Return the clearest gap of each class, by metric, and the class with the clearest of all."""
    if not shown.classes:
        return
    metrics = [metric for metric in shown_in("class table") if metric in shown.worst_classes]
    table = [["class, gaps in points", *(CATALOGUE[metric].column for metric in metrics)]]
    for label, one in shown.classes.items():
        table.append([label, *(_points(one.gaps[metric]) for metric in metrics)])
    yield ""
    yield from aligned(table)
    yield ""
    for metric in metrics:
        worst = shown.worst_classes[metric]
        if worst.label is not None:
            yield f"  clearest of all classes: {gap_line(shown.classes[worst.label].gaps[metric])}"
    missing = sorted({label for metric in metrics for label in shown.worst_classes[metric].undefined})
    if missing:
        yield f"  without a gap, for fewer than two groups have the rate: {', '.join(missing)}"
    odds = shown.worst_classes.get("equalized_odds")
    if odds is not None and odds.label is not None:
        apart = points_words(odds.parity.difference, odds.parity.low, odds.parity.high)
        yield f"  equalized odds over all classes: {apart}, of {odds.label}"


def reference_lines(shown: Shown) -> Iterator[str]:
    compared = shown.audit.as_shown().to_reference
    if not compared:
        return
    table = [[f"against {shown.audit.reference}", "", "difference", "ratio"]]
    for metric in (metric for metric in shown_in("reference") if metric in shown.gaps):
        for group, gaps in compared.items():
            gap = gaps.get(metric)
            if gap is None or gap.directed is None:
                cells = ["not shown" if gap is None else "undefined"]
            else:
                difference = gap.difference_words(float(gap.directed.difference), sign="+")
                cells = [f"{difference}{gap.interval_words}", gap.ratio_words or "undefined"]
            table.append([metric.replace("_", " "), group, *cells])
    yield ""
    yield from (f"  {line}" for line in aligned(table))


def furthest_lines(shown: Shown) -> Iterator[str]:
    """Return equalized odds, the largest error of a group, and the distance between groups' scores or predictions."""
    odds = shown.parities.get("equalized_odds")
    if odds is not None and odds.difference is not None and odds.low is not None and odds.high is not None:
        yield (
            f"equalized odds: {odds.highest} over {odds.lowest}, "
            f"{points_words(odds.difference, odds.low, odds.high)}; any two at most "
            f"{100 * odds.over_all_pairs['high']:.1f} points"
        )
    for metric, worst in shown.bounded_json().items():
        reach = figure_text(worst["value"], worst["low"], worst["high"], significant=4, to=" to ")
        yield f"largest {metric.replace('_', ' ')} of a group: {worst['group']} {reach}"
    for name, distance in shown.distances.items():
        if distance.difference is not None and distance.low is not None and distance.high is not None:
            apart = figure_text(distance.difference, distance.low, distance.high, least=3, to=" to ")
            yield f"{CATALOGUE[name].column}: {distance.highest} over {distance.lowest}, {apart}"


def _points(gap: Gap) -> str:
    if gap.difference is None or gap.difference_low is None or gap.difference_high is None:
        return "undefined"
    return f"{100 * gap.difference:.1f} ({100 * gap.difference_low:.1f}-{100 * gap.difference_high:.1f})"
