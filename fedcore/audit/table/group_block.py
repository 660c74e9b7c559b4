"""Measures of groups that are not all shares, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fedcore.audit.metrics.catalogue import CATALOGUE
from fedcore.audit.metrics.estimates import Measure
from fedcore.audit.table.text.columns import aligned
from fedcore.audit.verdict.shown import Shown


def group_block(
    attribute: str,
    shown: Shown,
    metrics: Sequence[str],
    cell: Callable[[str, Measure], str],
) -> list[str]:
    """Return a line for each group, with its rows and the metrics given, and those of groups that are not shown.

    Args:
        attribute: Heads the column of groups.
        shown: What may be shown of the attribute.
        metrics: Columns, in order.
        cell: Writes a measure of a metric.
    """
    table = [[attribute, "n", *(CATALOGUE[metric].column for metric in metrics)]]
    for group in shown.groups:
        found = [(metric, shown.estimates[metric].get(group)) for metric in metrics]
        cells = ["not shown" if one is None else cell(metric, one) for metric, one in found]
        table.append([group, f"{shown.audit.sizes[group]:,}", *cells])
    return aligned([*table, *([group, "not shown"] for group in shown.audit.suppressed)])
