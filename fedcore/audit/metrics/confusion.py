"""The confusion table of each group, and the cells and denominators of rates."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcore.audit.tables.groups import GroupTable
from fedcore.errors import DataError


def predicted_counts(table: GroupTable, threshold: float) -> NDArray[np.int64]:
    """Return counts of shape (groups, labels, predicted labels)."""
    if not table.scored:
        return table.counts
    edge = _edge(table, threshold)
    below, above = table.counts[:, :, :edge].sum(axis=2), table.counts[:, :, edge:].sum(axis=2)
    return np.stack([below, above], axis=2)


def _edge(table: GroupTable, threshold: float) -> int:
    place = threshold * table.num_bins
    if not 0 < threshold < 1:
        raise DataError(f"attribute {table.attribute!r}: threshold {threshold!r} must be between 0 and 1")
    if abs(place - round(place)) < 1e-9 and 0 < round(place) < table.num_bins:
        return round(place)
    lower = min(max(int(place), 1), table.num_bins - 1)
    nearest = sorted({lower, min(lower + 1, table.num_bins - 1)})
    raise DataError(
        f"attribute {table.attribute!r}: threshold {threshold!r} is on no edge of the {table.num_bins} "
        f"score bins; the nearest are {' and '.join(f'{edge / table.num_bins:g}' for edge in nearest)}"
    )


def favourable_index(table: GroupTable, favourable: str | None) -> int | None:
    if favourable is None:
        return 1 if len(table.labels) == 2 else None
    if favourable not in table.labels:
        raise DataError(f"the favourable label {favourable!r} is none of the labels {', '.join(table.labels)}")
    return table.labels.index(favourable)


def cells(predicted: NDArray[Any], index: int | None) -> dict[str, NDArray[Any]]:
    """Return the cells that rates are made of, each of shape (groups,).

    Always ``rows`` and ``right``, those predicted correctly. For label `index` against the rest also ``TP``, ``FP``,
    ``FN`` and ``TN``.
    """
    rows = predicted.sum(axis=(1, 2))
    found = {"rows": rows, "right": np.trace(predicted, axis1=1, axis2=2)}
    if index is None:
        return found
    right = predicted[:, index, index]
    positive, selected = predicted[:, index, :].sum(axis=1), predicted[:, :, index].sum(axis=1)
    return found | {
        "TP": right,
        "FN": positive - right,
        "FP": selected - right,
        "TN": rows - positive - selected + right,
    }


def denominators(
    table: GroupTable, *, threshold: float = 0.5, favourable: str | None = None
) -> dict[str, tuple[int, ...]]:
    """Return for every group its rows, and the rows behind each of its rates; arguments as ``group_rates``.

    With several labels and none favourable: those of every class against the others. With sampling weights also the
    effective number of each (Kish), since one of ten lines may carry all the weight.
    """
    index = favourable_index(table, favourable)
    columns = _bases(predicted_counts(table, threshold), index)
    if table.sampling is not None:
        weights, squares = _bases(table.sampling.weights, index), _bases(table.sampling.squares, index)
        columns += [_effective(*of) for of in zip(columns, weights, squares, strict=True)]
    return {group: tuple(int(column[place]) for column in columns) for place, group in enumerate(table.groups)}


def _bases(cells: NDArray[Any], index: int | None) -> list[NDArray[Any]]:
    """Return the rows behind the rates of each group, from cells of shape (groups, labels, predicted labels)."""
    rows, by_class = cells.sum(axis=(1, 2)), [*cells.sum(axis=2).T, *cells.sum(axis=1).T]
    kept = by_class if index is None else [by_class[index], by_class[cells.shape[1] + index]]
    return [rows, *kept, *(rows - one for one in kept)]


def _effective(lines: NDArray[Any], weights: NDArray[Any], squares: NDArray[Any]) -> NDArray[Any]:
    """Return the effective number of rows, from 1 to the number of lines; 0 for none."""
    held = (lines > 0) & (squares > 0)
    found = np.divide(weights**2, squares, out=np.zeros(len(lines)), where=held)
    return np.where(held, np.clip(found + 1e-9, 1, lines), 0)


def leeways(table: GroupTable, *, threshold: float = 0.5) -> dict[str, int]:
    """Return for every group how many rows its accuracy and selection rates leave undetermined.

    With two labels, from max(0, S + C - N) to min(S, C) rows may be selected correctly, of N with C predicted correctly
    and S selected: the range is the least of S, N - S, C and N - C, and it fixes all other counts. With more labels a
    row that is predicted wrongly may have any other label, so that only C and N - C count.
    """
    predicted = predicted_counts(table, threshold)
    rows, counts = predicted.sum(axis=(1, 2)), [np.trace(predicted, axis1=1, axis2=2)]
    counts += [predicted[:, :, 1].sum(axis=1)] if len(table.labels) == 2 else []
    open_by = np.min([side for count in counts for side in (count, rows - count)], axis=0)
    return dict(zip(table.groups, open_by.tolist(), strict=True))
