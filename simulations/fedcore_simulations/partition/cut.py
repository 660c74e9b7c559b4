"""Rows dealt out in a given order, in given shares."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedcore_simulations.partition.contract import Owner


def cut(order: NDArray[np.int64], shares: NDArray[np.float64]) -> Owner:
    """Give each client the next run of rows in `order`, as many as its share; `shares` sum to one."""
    ends = np.round(np.cumsum(shares) * len(order)).astype(np.int64)
    owner = np.empty(len(order), dtype=np.int64)
    owner[order] = np.searchsorted(ends, np.arange(len(order)), side="right").clip(max=len(shares) - 1)
    return owner
