"""The rows of a table for the audit: groups, truth, and decisions or predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from fedcore.audit.table.columns import Coded


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Labels and decisions; all arrays have shape ``(rows,)``.

    Attributes:
        names: The unfavourable and the favourable label or decision; if more than two and none is favourable, all of
            them, in order.
        truth: Positions of the labels, int64; None without labels.
        selected: Positions of the decisions, int64.
        scores: Scores as given, float64; None without.
        median: The sample's median score, if it decides; else None.
    """

    names: tuple[str, ...]
    guessed: bool
    truth: NDArray[np.int64] | None
    selected: NDArray[np.int64]
    scores: NDArray[np.float64] | None
    median: float | None

    @property
    def favourable(self) -> str | None:
        """The favourable label; None if each class is compared with the others."""
        return self.names[1] if len(self.names) == 2 else None

    @property
    def shown_truth(self) -> NDArray[np.int64]:
        """The labels; without them the decisions, and then only the decisions may be read."""
        return self.selected if self.truth is None else self.truth


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """Targets and predictions that are numbers; float64, shape ``(rows,)``."""

    targets: NDArray[np.float64]
    predictions: NDArray[np.float64]

    @property
    def span(self) -> tuple[float, float]:
        """Smallest to largest of targets and predictions, so that none is clipped."""
        both = np.concatenate([self.targets, self.predictions])
        return float(both.min()), float(both.max())


Outcomes = TypeVar("Outcomes", Labels, Numbers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows(Generic[Outcomes]):
    """The rows of a table; all arrays have shape ``(rows,)``.

    Attributes:
        weights: Number of rows that each line stands for, int64.
        groups: For each attribute and crossing its groups, "unknown" last.
        dropped: Rows that were left out, by the column that they lack.
        sampling: Fractional weights, float64; None if each line stands for whole rows.
    """

    source: str
    lines: int
    outcomes: Outcomes
    weights: NDArray[np.int64]
    groups: dict[str, Coded]
    dropped: Mapping[str, int]
    notes: tuple[str, ...] = ()
    site: Coded | None = None
    sampling: NDArray[np.float64] | None = None

    @property
    def total(self) -> int:
        """Number of rows, by weight."""
        return int(self.weights.sum())
