"""The kinds of tables, and the audit of a table of either."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fedcore.audit.table.by_site import site_splits, split_lines, splits_json
from fedcore.audit.table.columns import kept_rows, table_of
from fedcore.audit.table.labels import (
    decision_table,
    observed_labels,
    rates_of,
    read_labels,
    shown_rates,
    sources_of,
    threshold_of,
)
from fedcore.audit.table.numbers import error_table, observed_numbers, read_numbers
from fedcore.audit.table.options import BiasOptions
from fedcore.audit.table.result import TableKind, TableResult, audit_rows
from fedcore.audit.table.rows import Labels, Numbers, Rows
from fedcore.tasks.tabular.table import Table


def audited(
    options: BiasOptions, table: Table | None = None, *, progress: Callable[[str], None] = lambda _: None
) -> TableResult[Any]:
    """Audit a table, by default the file that the options name.

    Raises:
        PlanError: The options contradict one another or the table.
        DataError: The table cannot be read or counted.
    """
    options = options.with_profile()
    rows = read_rows(options, table)
    progress(f"comparing groups of {rows.total:,} rows …")
    return audit_rows(rows, options, KINDS[options.kind])


def read_rows(options: BiasOptions, table: Table | None = None) -> Rows[Any]:
    """Read the rows of a table, or of the options' file; raises `DataError` if it cannot be read."""
    return KINDS[options.kind].read(*kept_rows(table_of(options) if table is None else table, options), options)


def _label_columns(result: TableResult[Labels]) -> str:
    options, outcomes = result.options, result.rows.outcomes
    decided = f"decisions {options.prediction}" if options.score is None else f"scores {options.score}"
    true = "no labels" if options.label is None else f"labels {options.label}"
    if outcomes.favourable is None or (options.label is None and options.prediction is None):
        return f"{decided}, {true}"
    return f"{decided}, {true}, favourable {outcomes.favourable}{' (a guess)' if outcomes.guessed else ''}"


def _label_head(result: TableResult[Labels]) -> dict[str, Any]:
    options, outcomes = result.options, result.rows.outcomes
    return {
        "columns": {name: getattr(options, name) for name in ("label", "score", "prediction", "weight", "site")},
        "favourable": outcomes.favourable,
        "favourable_is_a_guess": outcomes.guessed,
        "labels": list(outcomes.names),
        "threshold": threshold_of(options),
    }


def _label_more(result: TableResult[Labels]) -> dict[str, Any]:
    shown = result.shown.items()
    return {
        "by_class": {attribute: one.classes_json() for attribute, one in shown},
        "unknown_bounds": {attribute: one.bounds_json() for attribute, one in shown},
        "sites": splits_json(result, site_splits(result)),
        "cross_group_auc": {attribute: one.cross_areas_json() for attribute, one in shown},
        "auc_bounds": {attribute: one.area_bounds_json() for attribute, one in shown},
        "calibration": {attribute: one.calibration_json() for attribute, one in shown},
    }


LABELS: TableKind[Labels] = TableKind(
    example="selection_rate>=0.8",
    unit="shares in percent",
    read=read_labels,
    count=decision_table,
    observed=observed_labels,
    sources=sources_of,
    rates=rates_of,
    shown_rates=shown_rates,
    columns=_label_columns,
    head=_label_head,
    more=_label_more,
    sites=split_lines,
)
NUMBERS: TableKind[Numbers] = TableKind(
    example="max(mean_absolute_error)<=10",
    unit="in the unit of the targets",
    read=read_numbers,
    count=error_table,
    observed=observed_numbers,
    sources=lambda rows, options: {"numbers"},
    rates=lambda rows: (),
    shown_rates=lambda rows: (),
    columns=lambda result: f"targets {result.options.label}, predictions {result.options.prediction}",
    head=lambda result: {
        "kind": "regression",
        "columns": {name: getattr(result.options, name) for name in ("label", "prediction", "weight")},
    },
    more=lambda result: {
        "bounded_group_loss": {attribute: shown.bounded_json() for attribute, shown in result.shown.items()}
    },
    sites=lambda result, attribute: iter(()),
)
KINDS: dict[str, TableKind[Any]] = {"classification": LABELS, "regression": NUMBERS}
