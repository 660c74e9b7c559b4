"""The audit of a table as plain text, for a terminal and for a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from fedcore.audit.metrics.catalogue import CATALOGUE, shown_in
from fedcore.audit.table.favourable import guess_words
from fedcore.audit.table.profile_tables import profile_lines
from fedcore.audit.table.result import TableResult
from fedcore.audit.table.rows import Labels
from fedcore.audit.table.text.comparisons import class_lines, furthest_lines, reference_lines
from fedcore.audit.table.text.group_block import group_block
from fedcore.audit.table.text.verdict import MORE, verdict_lines
from fedcore.audit.verdict.gap_words import gap_line
from fedcore.audit.verdict.shown import Shown
from fedcore.text.printable import printable


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
