"""The audit of predicted numbers as JSON, and as plain text for a terminal and for a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fedcore import __version__
from fedcore.audit.metrics.catalogue import CATALOGUE, headlines_of, shown_in
from fedcore.audit.metrics.estimates import Measure
from fedcore.audit.table.bias_json import SCHEMA_VERSION, attributes_json
from fedcore.audit.table.comparisons import distance_lines, reference_lines
from fedcore.audit.table.group_block import group_block
from fedcore.audit.table.profile_tables import profile_head
from fedcore.audit.table.regression.run import RegressionResult
from fedcore.audit.table.text.verdict import MORE, verdict_lines
from fedcore.audit.verdict.gap_words import gap_line
from fedcore.audit.verdict.profiles import PROFILES
from fedcore.audit.verdict.report import METHODS, POPULATION
from fedcore.audit.verdict.shown import MEASURE_METHODS, Shown, measure_json
from fedcore.text.figures import figure_text
from fedcore.text.printable import printable

_BRIEF = [name for name in headlines_of("text") if CATALOGUE[name].source == "numbers"]
_REST = [name for name in shown_in("full text") if CATALOGUE[name].source == "numbers" and name not in _BRIEF]
_BLOCKS = (_BRIEF, _REST)


def regression_json(result: RegressionResult) -> dict[str, Any]:
    """Return plain lists, strings and numbers, in the shapes of ``bias_json.result_json``."""
    options, settings, rows = result.options, result.settings, result.rows
    overall = next(iter(result.audits.values())).overall
    few = int(rows.weights.sum()) < settings.min_cell
    return {
        "schema_version": SCHEMA_VERSION,
        "fedcore_version": __version__,
        "kind": "regression",
        "table": {"name": rows.source, "lines": rows.lines, "rows": int(rows.weights.sum())},
        "columns": {"label": options.label, "prediction": options.prediction, "weight": options.weight},
        "confidence": settings.confidence,
        "min_cell": settings.min_cell,
        "missing": {"policy": options.missing, "dropped": dict(rows.dropped)},
        "methods": {**METHODS, **MEASURE_METHODS},
        "population": POPULATION,
        "overall": {metric: measure_json(one, suppressed=few) for metric, one in overall.items()},
        **attributes_json(result.shown),
        "profile": None if options.profile is None else profile_head(PROFILES[options.profile]),
        "to_reference": {attribute: shown.reference_json() for attribute, shown in result.shown.items()},
        "bounded_group_loss": {attribute: shown.bounded_json() for attribute, shown in result.shown.items()},
        "notes": result.notes,
        "findings": [finding.to_json() for finding in result.findings],
        "verdict": None if result.verdict is None else result.verdict.value,
    }


def regression_text(result: RegressionResult, *, everything: bool = False) -> str:
    """Return the verdict and a table for each attribute, line by line; with ``everything`` all that was measured."""
    rows, options = result.rows, result.options
    lines = [
        *verdict_lines(result.verdict, result.findings, example="max(mean_absolute_error)<=10"),
        "",
        f"{rows.source}: {int(rows.weights.sum()):,} rows, targets {options.label}, predictions {options.prediction}",
        f"in the unit of the targets, with intervals of {100 * result.settings.confidence:g} % confidence in brackets",
    ]
    for attribute, shown in result.shown.items():
        lines += ["", *_attribute(attribute, shown, everything=everything)]
    if result.notes:
        lines += ["", *(f"note: {note}" for note in result.notes)]
    return "\n".join(map(printable, [*lines, *([] if everything else ["", MORE])])) + "\n"


def _attribute(attribute: str, shown: Shown, *, everything: bool) -> Iterator[str]:
    blocks = _BLOCKS if everything else _BLOCKS[:1]
    for block in blocks:
        yield from group_block(attribute, shown, block, _cell)
        yield ""
    for metric in (metric for block in blocks for metric in block):
        yield f"  {gap_line(shown.gaps[metric])}"
    yield from reference_lines(shown)
    if not everything:
        return
    for metric, worst in shown.bounded_json().items():
        reach = figure_text(worst["value"], worst["low"], worst["high"], significant=4, to=" to ")
        yield f"  largest {metric.replace('_', ' ')} of a group: {worst['group']} {reach}"
    yield from distance_lines(shown)


def _cell(_: str, one: Measure) -> str:
    if one.value is None or one.low is None or one.high is None:
        return "undefined"
    return figure_text(one.value, one.low, one.high, significant=4, to=" to ")
