"""The confusion table of each group, and the cells that rates are made of."""

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
