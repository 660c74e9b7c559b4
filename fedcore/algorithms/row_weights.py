"""Weights of rows by group and label."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fedcore.errors import DataError

SMALLEST, LARGEST = 0.1, 10.0
"""Within which factors are kept: a cell of few rows must not rule the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowWeights:
    """Weights of the rows' losses.

    Under record-level privacy they do not touch the guarantee: a gradient is clipped after it was multiplied.

    Attributes:
        factors: A tuple for each group with a weight for each label, in the order of the plan's vocabulary and the
            task's labels; in [0.1, 10].

    Raises:
        DataError: The factors are not a table, or one is out of range.
    """

    attribute: str
    factors: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        widths = {len(row) for row in self.factors}
        if len(widths) != 1 or 0 in widths:
            raise DataError("row weights: expected a table of a factor for each group and label")
        if not all(SMALLEST <= factor <= LARGEST for row in self.factors for factor in row):
            raise DataError(f"row weights: a factor is not from {SMALLEST:g} to {LARGEST:g}")

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of groups and of labels."""
        return len(self.factors), len(self.factors[0])

    @classmethod
    def of(cls, attribute: str, factors: NDArray[np.float64]) -> Self:
        """Factors brought into range; shape (groups, labels)."""
        within = np.clip(factors, SMALLEST, LARGEST)
        return cls(attribute=attribute, factors=tuple(tuple(float(each) for each in row) for row in within))

    @classmethod
    def from_json(cls, plain: Any) -> Self:
        """Read what `to_json` wrote; raises `DataError` for anything else."""
        try:
            attribute, rows = plain["attribute"], plain["factors"]
            factors = tuple(tuple(float(factor) for factor in row) for row in rows)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError("row weights: expected an attribute and a table of factors") from error
        if not isinstance(attribute, str) or not all(math.isfinite(factor) for row in factors for factor in row):
            raise DataError("row weights: expected an attribute's name and finite factors")
        return cls(attribute=attribute, factors=factors)

    def to_json(self) -> dict[str, Any]:
        return {"attribute": self.attribute, "factors": [list(row) for row in self.factors]}

    def for_rows(self, groups: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
        """Weight of each row, from positions of groups and codes of labels of shape (n,).

        Raises:
            DataError: The table lacks a group or a label of a row.
        """
        table = np.array(self.factors)
        if groups.size and (int(groups.max()) >= len(table) or int(labels.max()) >= table.shape[1]):
            raise DataError("row weights: they are for fewer groups or labels than the data has")
        factors: NDArray[np.float64] = table[groups, labels]
        return factors
