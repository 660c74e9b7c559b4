"""The rows that rates rest on, by which small ones are found."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcore.audit.metrics.confusion import favourable_index, predicted_counts
from fedcore.audit.tables.groups import GroupTable


def denominators(
    table: GroupTable, *, threshold: float = 0.5, favourable: str | None = None
) -> dict[str, tuple[int, ...]]:
    """Return for every group its rows, and the rows that each of its rates rests on; arguments as ``group_rates``.

    Of several labels none of which is favourable those of every class against the others. Of rows with sampling weights
    also how many of equal weights would be as uncertain as each of these (Kish), for of ten lines one may weigh all.
    """
    index = favourable_index(table, favourable)
    columns = _bases(predicted_counts(table, threshold), index)
    if table.sampling is not None:
        weights, squares = _bases(table.sampling.weights, index), _bases(table.sampling.squares, index)
        columns += [_effective(*of) for of in zip(columns, weights, squares, strict=True)]
    return {group: tuple(int(column[place]) for column in columns) for place, group in enumerate(table.groups)}


def _bases(cells: NDArray[Any], index: int | None) -> list[NDArray[Any]]:
    """Return what the rates of each group rest on, from cells of shape (groups, labels, predicted labels)."""
    rows, by_class = cells.sum(axis=(1, 2)), [*cells.sum(axis=2).T, *cells.sum(axis=1).T]
    kept = by_class if index is None else [by_class[index], by_class[cells.shape[1] + index]]
    return [rows, *kept, *(rows - one for one in kept)]


def _effective(lines: NDArray[Any], weights: NDArray[Any], squares: NDArray[Any]) -> NDArray[Any]:
    """Return the effective number of rows of so many lines, from 1 to their number; of none 0."""
    held = (lines > 0) & (squares > 0)
    found = np.divide(weights**2, squares, out=np.zeros(len(lines)), where=held)
    return np.where(held, np.clip(found + 1e-9, 1, lines), 0)


def leeways(table: GroupTable, *, threshold: float = 0.5) -> dict[str, int]:
    """Return for every group by how many rows its labels are left open by its accuracy and selection rates.

    Of two labels from max(0, S + C - N) to min(S, C) rows may be selected rightly, of N with C predicted rightly and S
    selected: as many more as the least of S, N - S, C and N - C, and they tell all other counts. Of more labels a row
    that is predicted wrongly may be of any other, so that only C and N - C count.
    """
    predicted = predicted_counts(table, threshold)
    rows, counts = predicted.sum(axis=(1, 2)), [np.trace(predicted, axis1=1, axis2=2)]
    counts += [predicted[:, :, 1].sum(axis=1)] if len(table.labels) == 2 else []
    open_by = np.min([side for count in counts for side in (count, rows - count)], axis=0)
    return dict(zip(table.groups, open_by.tolist(), strict=True))
