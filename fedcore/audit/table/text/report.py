"""The audit of a table as plain text, for a terminal and for a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from fedcore.audit.metrics.catalogue import CATALOGUE, shown_in
from fedcore.audit.metrics.gaps import Gap
from fedcore.audit.table.favourable import guess_words
from fedcore.audit.table.profile_tables import profile_lines
from fedcore.audit.table.result import TableResult
from fedcore.audit.table.rows import Labels
from fedcore.audit.table.text.columns import aligned
from fedcore.audit.table.text.groups import group_block
from fedcore.audit.verdict.gap_json import gap_line
from fedcore.audit.verdict.gate import Finding, Verdict
from fedcore.audit.verdict.shown import Shown
from fedcore.text.figures import figure_text
from fedcore.text.printable import printable

ALL = "more: --all prints every metric and gap"
MORE = f"{ALL}, and --out DIR or --json keeps them"


def verdict_lines(verdict: Verdict | None, findings: Iterable[Finding], *, example: str) -> Iterator[str]:
    """Return the verdict, and each limit with its finding, the worst first; ``example`` is shown without limits."""
    if verdict is None:
        yield f"verdict: none, because no limit was given (--limit '{example}')"
        return
    yield f"verdict: {verdict}"
    order = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)
    yield from (f"limit: {one.reason}" for one in sorted(findings, key=lambda one: order.index(one.verdict)))


def readable(result: TableResult[Any], *, everything: bool = False, closing: str = MORE) -> str:
    """Return the verdict and a table for each attribute; with ``everything`` all metrics.

    The last line, ``closing``, points to the rest.
    """
    metrics = _shown(result, everything=everything)
    lines = [*_verdict(result), "", *_head(result)]
    for attribute, shown in result.shown.items():
        lines += ["", *_attribute(result, attribute, shown, metrics, everything=everything)]
    if result.options.profile is not None:
        lines += ["", *profile_lines(result)]
    if notes := result.notes_on(CATALOGUE if everything else metrics):
        lines += ["", *(f"note: {note}" for note in notes)]
    return "\n".join(map(printable, [*lines, *(["", closing] if closing and not everything else [])])) + "\n"


def _shown(result: TableResult[Any], *, everything: bool) -> list[str]:
    shown = next(iter(result.shown.values()))
    there = {*result.metrics, *shown.estimates, *(["impact_ratio"] if shown.impact else [])}
    found = [name for name in shown_in("full text" if everything else "text") if name in there]
    found.sort(key=lambda name: CATALOGUE[name].in_own_unit and not CATALOGUE[name].headline)  # errors: size, then sign
    alone = everything or len(found) > 2 or "impact_ratio" not in there
    return found if alone else [*found[:1], "impact_ratio", *found[1:]]


def _blocks(metrics: Sequence[str]) -> Iterator[list[str]]:
    """Yield the metrics of one table after the other: by source, short ones first."""
    kinds = {name: _kind_of(name) for name in metrics}
    for kind in sorted({*kinds.values()}):
        yield [name for name in metrics if kinds[name] == kind]


def _kind_of(name: str) -> int:
    metric = CATALOGUE[name]
    if metric.estimate is not None:
        return 2 if "text" not in metric.places else 1
    return 0 if metric.cells is None or metric.cells[1] == "rows" else 1


def _attribute(
    result: TableResult[Any], attribute: str, shown: Shown, metrics: Sequence[str], *, everything: bool
) -> Iterator[str]:
    for number, block in enumerate(_blocks(metrics) if everything else [metrics]):
        yield from group_block(attribute, shown, block, hidden=number == 0)
        yield ""
    yield from (f"  {line}" for line in _gap_lines(shown, metrics))
    if everything:
        yield from (f"  {line}" for line in furthest_lines(shown))
    yield from class_lines(shown)
    yield from reference_lines(shown)
    if sites := [*result.kind.sites(result, attribute)]:
        yield from ("", *(f"  {line}" for line in sites))


def _gap_lines(shown: Shown, metrics: Iterable[str]) -> Iterator[str]:
    if all(gap.highest is None for gap in shown.gaps.values()):
        yield "no gaps, because fewer than two groups can be compared"
        return
    yield from (gap_line(shown.gaps[metric]) for metric in metrics if metric in shown.gaps)


def _head(result: TableResult[Any]) -> Iterator[str]:
    rows = result.rows
    of = "" if rows.total == rows.lines else f" in {rows.lines:,} lines"
    yield f"{rows.source}: {rows.total:,} rows{of}, {result.kind.columns(result)}"
    yield f"{result.kind.unit}, with intervals of {100 * result.settings.confidence:g} % confidence in brackets"


def _verdict(result: TableResult[Any]) -> Iterator[str]:
    yield from verdict_lines(result.verdict, result.findings, example=result.kind.example)
    outcomes = result.rows.outcomes
    if isinstance(outcomes, Labels) and outcomes.guessed and outcomes.favourable is not None:
        yield guess_words(outcomes.favourable)


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
