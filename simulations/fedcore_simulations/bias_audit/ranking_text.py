"""The audit of ranked lists as JSON, and as plain text for a terminal and for a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fedcore import __version__
from fedcore.audit.estimates import Measure
from fedcore.audit.gap_words import gap_line
from fedcore.audit.ranking import MANY_LISTS
from fedcore.audit.shown import Shown
from fedcore.wording import counted
from fedcore_simulations.bias_audit.bias_json import SCHEMA_VERSION, attributes_json
from fedcore_simulations.bias_audit.group_block import group_block
from fedcore_simulations.bias_audit.ranking_run import RankingResult, result_notes
from fedcore_simulations.bias_audit.verdict_text import MORE, verdict_lines

_TITLES = {
    "selection_rate_at_k": "in the top, %",
    "representation_at_k": "representation",
    "exposure": "exposure",
    "exposure_per_relevance": "per relevance",
    "pairwise_accuracy": "pairs in order",
    "intra_group_pairwise_accuracy": "within the group",
    "inter_group_pairwise_accuracy": "across groups",
}
_BLOCKS = ([*_TITLES][:3], [*_TITLES][3:])


def ranking_json(result: RankingResult) -> dict[str, Any]:
    """Return plain lists, strings and numbers, in the shapes of ``bias_json.result_json``."""
    options, settings = result.options, result.settings
    return {
        "schema_version": SCHEMA_VERSION,
        "fedcore_version": __version__,
        "kind": "ranking",
        "table": {"name": result.rows.source, "lines": result.rows.lines, "rows": int(result.rows.weights.sum())},
        "lists": len(result.rows.sizes),
        "top": float(result.rows.top.places),
        "columns": {
            "label": options.label,
            "score": options.score,
            "list": options.list_column,
            "weight": options.weight,
        },
        "confidence": settings.confidence,
        "min_cell": settings.min_cell,
        "missing": {"policy": options.missing, "dropped": dict(result.rows.dropped)},
        "population": _population(result),
        **attributes_json(result.shown),
        "profile": None,
        "notes": result_notes(result),
        "findings": [finding.to_json() for finding in result.findings],
        "verdict": None if result.verdict is None else result.verdict.value,
    }


def ranking_text(result: RankingResult, *, everything: bool = False) -> str:
    """Return the verdict and a table for each attribute, line by line; with ``everything`` all that was measured."""
    lines = [*verdict_lines(result.verdict, result.findings, example="exposure>=0.8"), "", *_head(result)]
    for attribute, shown in result.shown.items():
        lines += ["", *_attribute(attribute, shown, everything=everything)]
    lines += ["", *(f"note: {note}" for note in (_population(result), *result_notes(result)))]
    return "\n".join([*lines, *([] if everything else ["", MORE])]) + "\n"


def _head(result: RankingResult) -> Iterator[str]:
    rows = result.rows
    total, lists = int(rows.weights.sum()), counted(len(rows.sizes), "list")
    places = rows.top.places
    top = f"the first {int(places)} of each" if places >= 1 else f"the first {100 * float(places):g} % of each"
    relevance = "no relevance" if result.options.label is None else f"relevance {result.options.label}"
    yield f"{rows.source}: {total:,} rows in {lists}, ranked by {result.options.score}, {relevance}"
    yield f"top: {top}; intervals of {100 * result.settings.confidence:g} % confidence in brackets"


def _population(result: RankingResult) -> str:
    if len(result.rows.sizes) >= MANY_LISTS:
        return "The intervals treat the lists as a sample of future lists, drawn independently."
    return f"Of fewer than {MANY_LISTS} lists the intervals treat the rows of each list as a sample."


def _attribute(attribute: str, shown: Shown, *, everything: bool) -> Iterator[str]:
    blocks = [[m for m in block if m in shown.estimates] for block in (_BLOCKS if everything else _BLOCKS[:1])]
    for metrics in filter(None, blocks):
        yield from group_block(attribute, shown, metrics, _TITLES, _cell)
        yield ""
    yield from (f"  {gap_line(shown.gaps[metric])}" for metrics in blocks for metric in metrics)


def _cell(metric: str, one: Measure) -> str:
    if one.value is None or one.low is None or one.high is None:
        return "undefined"
    if metric == "selection_rate_at_k":
        return f"{100 * one.value:.1f} ({100 * one.low:.1f}-{100 * one.high:.1f})"
    return f"{one.value:.3f} ({one.low:.2f}-{one.high:.2f})"
