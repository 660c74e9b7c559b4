"""Tables of numbers: targets and predictions, as counts and sums by group."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedcore.audit.metrics.observed import Observed
from fedcore.audit.table.columns import dropped_notes, groups_of, numbers_of, refuse, weights_of
from fedcore.audit.table.options import BiasOptions
from fedcore.audit.table.rows import Numbers, Rows
from fedcore.audit.tables.scores import scores_of_rows
from fedcore.audit.tables.values import ValueTable
from fedcore.errors import DataError
from fedcore.tasks.tabular.table import Table

_NUM_BINS, _LARGEST = 64, 1e100


def read_numbers(table: Table, dropped: dict[str, int], options: BiasOptions) -> Rows[Numbers]:
    """Read a table's columns; lines of weight 0 are left out.

    Raises:
        DataError: A cell cannot be read, or every number is the same.
    """
    weights = weights_of(table, options.weight)
    kept = weights > 0
    groups = groups_of(table, options.groups, dict(options.bands))
    outcomes = Numbers(
        targets=_numbers(table, options.label)[kept], predictions=_numbers(table, options.prediction)[kept]
    )
    if outcomes.span[0] == outcomes.span[1]:
        raise DataError(
            f"{table.source}: every target and every prediction is {outcomes.span[0]:g}; nothing can be off"
        )
    return Rows(
        source=table.source,
        lines=len(table),
        outcomes=outcomes,
        weights=weights[kept],
        groups={name: coded.select(kept) for name, coded in groups.items()},
        dropped=dropped,
        notes=tuple(dropped_notes(dropped)),
    )


def error_table(rows: Rows[Numbers], attribute: str) -> ValueTable:
    coded, outcomes = rows.groups[attribute], rows.outcomes
    empty = ValueTable.zeros(attribute=attribute, groups=coded.vocabulary, span=outcomes.span, num_bins=_NUM_BINS)
    return empty.collected(coded.codes, outcomes.targets, outcomes.predictions, weights=rows.weights)


def observed_numbers(rows: Rows[Numbers], table: ValueTable, _: BiasOptions) -> Observed:
    """Return the input of metrics; distances between predictions are those of rows, not of bins."""
    coded = rows.groups[table.attribute]
    predictions = scores_of_rows(
        groups=coded.vocabulary,
        group_codes=coded.codes,
        label_codes=None,
        scores=rows.outcomes.predictions,
        edges=rows.outcomes.span,
        weights=rows.weights,
    )
    return Observed(values=table, scores=predictions)


def _numbers(table: Table, name: str | None) -> NDArray[np.float64]:
    if name is None:
        raise DataError("no column of numbers")
    numbers = numbers_of(table, name, otherwise="no number; of labels that are classes leave out --kind regression")
    refuse(table, name, np.abs(numbers) > _LARGEST, f"beyond {_LARGEST:g}; give numbers in a larger unit")
    return numbers
