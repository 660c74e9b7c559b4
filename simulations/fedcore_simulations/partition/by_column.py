"""A client of each value of an attribute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedcore.errors import DataError, PlanError
from fedcore.text.wording import named
from fedcore_simulations.partition.contract import Owner, Rows

if TYPE_CHECKING:
    from fedcore.data.examples import Examples


class ByColumn:
    remedy = "a column whose values all have training rows"

    def __init__(self, column: str) -> None:
        if not column:
            raise ValueError("expected by:COLUMN, found no column")
        self._column = column

    def names(self, examples: Examples) -> tuple[str, ...]:
        vocabulary = examples.attributes[self._column].vocabulary if self._column in examples.attributes else ()
        return tuple(vocabulary[code] for code in np.unique(self._codes(examples)))

    def deal(self, rows: Rows, generator: np.random.Generator) -> Owner:
        _, owner = np.unique(self._codes(rows.examples), return_inverse=True)
        sizes = np.bincount(owner[~rows.held_out], minlength=rows.clients)
        bare = [self.names(rows.examples)[index] for index in np.flatnonzero(sizes == 0)]
        if bare:
            raise DataError(
                f"by:{self._column} leaves {named(bare)} without a training row; merge or remove these values, "
                "or hold out fewer rows (federation.held-out)"
            )
        return owner.astype(np.int64)

    def _codes(self, examples: Examples) -> NDArray[np.int64]:
        if self._column not in examples.attributes:
            known = ", ".join(examples.attributes) or "none"
            raise PlanError(
                f"federation.partition: the data has no column {self._column!r} to partition by; it has {known}"
            )
        return examples.attributes[self._column].codes.numpy()
