"""Scores by group and label as counts over rising scores, from rows or from the bins of a group table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedcore.audit.tables.counting import counted
from fedcore.audit.tables.groups import GroupTable
from fedcore.audit.tables.values import ValueTable
from fedcore.errors import DataError

MOST_POINTS = 65_536
"""So many different scores are kept apart; of more, those in one of as many bins count as one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTable:
    """Rows per group x label x point of rising score.

    Attributes:
        points: The score of each point, rising, float64 of shape (points,).
        counts: int64 of shape (groups, 2, points); the second label is the favourable one.
        exact: Whether all rows of a point have its very score; else ranks within a point are unknown.
        labelled: Whether the labels are known; if not, all rows are in the first.
    """

    groups: tuple[str, ...]
    points: NDArray[np.float64]
    edges: tuple[float, float]
    counts: NDArray[np.int64]
    exact: bool
    labelled: bool = True

    @property
    def unit(self) -> bool:
        """Whether scores may be read as probabilities: their range is 0 to 1."""
        return self.edges == (0.0, 1.0)

    def binned(self, num_bins: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return counts in equal bins, and the mean score of each group, label and bin.

        Returns:
            Counts of shape (groups, 2, num_bins), and means of the same shape, NaN where there are no rows.
        """
        low, high = self.edges
        place = np.clip(((self.points - low) / (high - low) * num_bins).astype(np.int64), 0, num_bins - 1)
        filled, first = np.unique(place, return_index=True)
        shape = (*self.counts.shape[:2], num_bins)
        counts, sums = np.zeros(shape, dtype=np.int64), np.zeros(shape)
        counts[..., filled] = np.add.reduceat(self.counts, first, axis=2)
        sums[..., filled] = np.add.reduceat(self.counts * self.points, first, axis=2)
        return counts, np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def scores_of_rows(
    *,
    groups: Sequence[str],
    group_codes: NDArray[np.int64],
    label_codes: NDArray[np.int64] | None,
    scores: NDArray[np.float64],
    edges: tuple[float, float],
    weights: ArrayLike | None = None,
) -> ScoreTable:
    """Count rows by their scores; different scores are kept apart up to ``MOST_POINTS``.

    Args:
        group_codes: Shape (rows,).
        label_codes: 1 for the favourable label and 0 for the other, shape (rows,); None without labels.
        scores: Finite, within ``edges``, shape (rows,).
    """
    points, place = np.unique(scores, return_inverse=True)
    exact = len(points) <= MOST_POINTS
    if not exact:
        low, high = edges
        width = (high - low) / MOST_POINTS
        place = np.clip(((scores - low) / width).astype(np.int64), 0, MOST_POINTS - 1)
        points = np.linspace(low + width / 2, high - width / 2, MOST_POINTS, dtype=np.float64)
    labels = np.zeros_like(group_codes) if label_codes is None else label_codes
    shape = (len(groups), 2, len(points))
    cells = np.ravel_multi_index((group_codes, labels, place), shape)
    return ScoreTable(
        groups=tuple(groups),
        points=points,
        edges=edges,
        counts=counted(cells, size=int(np.prod(shape)), weights=weights).reshape(shape),
        exact=exact,
        labelled=label_codes is not None,
    )


def scores_of_table(table: GroupTable, *, favourable: str | None = None) -> ScoreTable:
    """Read a scored group table, with bins at their centres.

    Raises:
        DataError: The table holds predictions, or lacks the favourable label.
    """
    if not table.scored:
        raise DataError(f"attribute {table.attribute!r}: the table holds predictions, not scores")
    if favourable not in (None, *table.labels):
        raise DataError(f"the favourable label {favourable!r} is none of the labels {', '.join(table.labels)}")
    counts, points = table.counts, (np.arange(table.num_bins) + 0.5) / table.num_bins
    if favourable == table.labels[0]:  # scores are those of the second label
        counts = counts[:, ::-1, ::-1]
    return ScoreTable(groups=table.groups, points=points, edges=(0.0, 1.0), counts=counts, exact=False)


def predictions_of(table: ValueTable) -> ScoreTable:
    """Return the predictions by group as scores without labels, each bin at its middle."""
    width = (table.high - table.low) / table.num_bins
    counts = np.stack([table.counts, np.zeros_like(table.counts)], axis=1)
    return ScoreTable(
        groups=table.groups,
        points=table.low + width * (np.arange(table.num_bins, dtype=np.float64) + 0.5),
        edges=(table.low, table.high),
        counts=counts,
        exact=False,
        labelled=False,
    )
