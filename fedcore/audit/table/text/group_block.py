"""A table of metrics by group, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fedcore.audit.metrics.catalogue import CATALOGUE
from fedcore.audit.metrics.estimates import Measure
from fedcore.audit.metrics.rates import Rate
from fedcore.audit.table.text.columns import aligned
from fedcore.audit.table.text.group_notes import MANY
from fedcore.audit.verdict.shown import Shown
from fedcore.text.figures import figure_text

_LONGEST_NAME = 28
_NOT_SHOWN = "not shown"


def group_block(attribute: str, shown: Shown, metrics: Sequence[str], *, hidden: bool) -> list[str]:
    """Return a line for each group, with its rows and these metrics; ``hidden`` adds lines for hidden groups."""
    measured: dict[str, Mapping[str, Rate | Measure | None]] = {**shown.rates, **shown.estimates}
    measured["impact_ratio"] = shown.impact
    table = [[attribute, "n", *(CATALOGUE[metric].column for metric in metrics)]]
    for group in shown.groups:
        cells = [
            _NOT_SHOWN if shown.audit.hides(metric, group) else _cell(measured[metric].get(group), metric)
            for metric in metrics
        ]
        table.append([_name(group), f"{shown.audit.sizes[group]:,}", *cells])
    return aligned([*table, *(_hidden_lines(shown.audit.suppressed) if hidden else [])])


def _hidden_lines(suppressed: Sequence[str]) -> list[list[str]]:
    if len(suppressed) > MANY:
        return [[f"{len(suppressed)} further groups", _NOT_SHOWN]]
    return [[_name(group), _NOT_SHOWN] for group in suppressed]


def _cell(one: Rate | Measure | None, metric: str) -> str:
    if one is None:
        return "-"
    if one.value is None or one.low is None or one.high is None:
        return "undefined"
    if CATALOGUE[metric].share:
        return f"{100 * one.value:.1f} ({100 * one.low:.1f}-{100 * one.high:.1f})"
    if CATALOGUE[metric].in_own_unit:
        return figure_text(one.value, one.low, one.high, significant=4, to=" to ")
    return figure_text(one.value, one.low, one.high, least=3)


def _name(group: str) -> str:
    return group if len(group) <= _LONGEST_NAME else f"{group[: _LONGEST_NAME - 1]}…"
