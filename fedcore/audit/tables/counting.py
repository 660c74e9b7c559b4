"""Counting rows, and rows that stand for several, into cells."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedcore.errors import DataError


def counted(cells: NDArray[np.int64], *, size: int, weights: ArrayLike | None = None) -> NDArray[np.int64]:
    """Return the rows in each of ``size`` cells, int64; exact, since sums over 2^53 are refused.

    Raises:
        DataError: The weights are not whole numbers of 0 or more, one per row, or over 2^53 in all.
    """
    if weights is None:
        return np.bincount(cells, minlength=size)
    array = np.asarray(weights)
    if array.shape != cells.shape or not np.issubdtype(array.dtype, np.integer) or (array < 0).any():
        raise DataError("weights must be whole numbers of 0 or more, one for each row")
    if array.sum(dtype=np.float64) > 2.0**53:
        raise DataError("weights sum to more than 2^53 rows")
    return np.bincount(cells, weights=array, minlength=size).astype(np.int64)
