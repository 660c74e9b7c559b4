"""Rows between the thresholds that a score may be cut at, and what each cut decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedcore.audit.counting import counted
from fedcore.audit.groups import GroupTable
from fedcore.errors import DataError

_LABELS = ("unfavourable", "favourable")
_MOST_ROWS = 10**9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoreCuts:
    """Rows per group x label x step, the steps rising towards what is selected.

    Cut ``c`` selects the rows of the steps from ``c`` on; it is between 1 and the number of steps less one.

    Attributes:
        attribute: Name of the attribute.
        groups: Its groups.
        counts: int64 of shape (groups, 2, steps); the second label is the favourable one.
        thresholds: The score that each cut is at, float64 of shape (steps - 1,).
        rising: True where a row is selected if its score is at least the threshold; False where it is if its score
            is below, because the favourable label is the one that scores speak against.
    """

    attribute: str
    groups: tuple[str, ...]
    counts: NDArray[np.int64]
    thresholds: NDArray[np.float64]
    rising: bool = True

    @classmethod
    def of_table(cls, table: GroupTable, *, favourable: str | None = None) -> ScoreCuts:
        """Read a scored table; its cuts are the inner edges of its bins.

        Raises:
            DataError: The table holds predictions, or counts with noise, or lacks the favourable label.
        """
        if not table.scored:
            raise DataError(f"attribute {table.attribute!r}: the table holds predictions, which no threshold can cut")
        if table.variance:
            raise DataError(f"attribute {table.attribute!r}: counts with noise cannot be halved as rows can")
        if favourable not in (None, *table.labels):
            raise DataError(f"the favourable label {favourable!r} is none of the labels {', '.join(table.labels)}")
        edges, counts = np.arange(1, table.num_bins) / table.num_bins, table.counts
        rising = favourable != table.labels[0]
        if not rising:
            edges, counts = edges[::-1], counts[:, ::-1, ::-1]
        return cls(attribute=table.attribute, groups=table.groups, counts=counts, thresholds=edges, rising=rising)

    @classmethod
    def of_rows(
        cls,
        *,
        attribute: str,
        groups: Sequence[str],
        group_codes: NDArray[np.int64],
        label_codes: NDArray[np.int64],
        scores: NDArray[np.float64],
        thresholds: NDArray[np.float64],
        weights: ArrayLike | None = None,
    ) -> ScoreCuts:
        """Count rows between rising thresholds; a score equal to one lies above it.

        Args:
            attribute: Name of the attribute.
            groups: Vocabulary; ``group_codes`` are positions in it.
            group_codes: Shape (rows,).
            label_codes: 1 for the favourable label and 0 for the other, shape (rows,).
            scores: Finite, shape (rows,).
            thresholds: Rising, shape (cuts,).
            weights: How many rows each row stands for.
        """
        shape = (len(groups), 2, len(thresholds) + 1)
        steps = np.searchsorted(thresholds, scores, side="right")
        cells = np.ravel_multi_index((group_codes, label_codes, steps), shape)
        counts = counted(cells, size=int(np.prod(shape)), weights=weights).reshape(shape)
        return cls(attribute=attribute, groups=tuple(groups), counts=counts, thresholds=thresholds)

    @property
    def sizes(self) -> dict[str, int]:
        """Rows of each group."""
        return dict(zip(self.groups, self.counts.sum(axis=(1, 2)).tolist(), strict=True))

    def cut_at(self, threshold: float) -> int:
        """Return the cut at a threshold.

        Raises:
            DataError: There is none.
        """
        nearest = int(np.argmin(np.abs(self.thresholds - threshold)))
        if abs(self.thresholds[nearest] - threshold) > 1e-9 * max(1.0, abs(threshold)):
            raise DataError(
                f"attribute {self.attribute!r}: no cut is at the threshold {threshold:g}; the nearest is at "
                f"{self.thresholds[nearest]:g}"
            )
        return nearest + 1

    def threshold_of(self, cut: int) -> float:
        """Return the score that a cut is at."""
        return float(self.thresholds[cut - 1])

    def halved(self, generator: np.random.Generator) -> tuple[ScoreCuts, ScoreCuts]:
        """Return two random halves of the rows; of an odd number the second has one more.

        Drawing rows without replacement is a multivariate hypergeometric draw of their counts.

        Raises:
            DataError: There are a thousand million rows or more.
        """
        total = int(self.counts.sum())
        if total >= _MOST_ROWS:
            raise DataError(
                f"attribute {self.attribute!r}: expected fewer than {_MOST_ROWS:,} rows to be halved, found {total:,}"
            )
        drawn = generator.multivariate_hypergeometric(self.counts.ravel(), total // 2, method="marginals")
        first = drawn.reshape(self.counts.shape)
        return replace(self, counts=first), replace(self, counts=self.counts - first)

    def above(self) -> NDArray[np.int64]:
        """Return how many rows each cut selects, of shape (groups, 2, cuts)."""
        return self.counts[:, :, ::-1].cumsum(axis=2)[:, :, ::-1][:, :, 1:]

    def decided(self, cuts: Mapping[str, int]) -> GroupTable:
        """Return the table of decisions with a cut for each group."""
        places = np.array([cuts[group] for group in self.groups]) - 1
        selected = np.take_along_axis(self.above(), places[:, None, None], axis=2)[:, :, 0]
        counts = np.stack([self.counts.sum(axis=2) - selected, selected], axis=2)
        return GroupTable(
            attribute=self.attribute, groups=self.groups, labels=_LABELS, num_bins=2, scored=False, counts=counts
        )
