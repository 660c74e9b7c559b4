"""The random order in which clients see their rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_STEP, _FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_LAST = np.uint64(2**64 - 1)


def shuffled(seeds: Sequence[int] | NDArray[np.int64], sizes: Sequence[int], *, epochs: int) -> NDArray[np.int64]:
    """The orders of the rows of some clients, each from a seed of its own.

    Each row of an epoch has a number of SplitMix64 (Steele, Lea and Flood 2014) from the client's seed, and the rows
    are sorted by them. So the orders of a thousand clients are made at once, where a generator for each would cost more
    than their training.

    Args:
        sizes: Number of rows of each client.

    Returns:
        Shape ``(clients, epochs, most rows)``; a client's own are the first, and what follows them is no row of it.
    """
    given, rows, most = np.array(seeds, np.uint64), np.array(sizes, np.int64), max(sizes, default=0)
    widths = np.minimum(2 ** np.ceil(np.log2(np.maximum(rows, 1))).astype(np.int64), most)
    different = np.unique(widths)
    if len(different) <= 1:
        return _orders(given, rows, epochs, most)
    found = np.zeros((len(rows), epochs, most), np.int64)
    for width in different.tolist():  # else one large client would cost all others as much as itself
        some = widths == width
        found[some, :, :width] = _orders(given[some], rows[some], epochs, width)
    return found


def _orders(seeds: NDArray[np.uint64], sizes: NDArray[np.int64], epochs: int, most: int) -> NDArray[np.int64]:
    places = (np.arange(epochs, dtype=np.uint64) << np.uint64(32))[:, None] + np.arange(1, most + 1, dtype=np.uint64)
    numbers = _mixed(seeds[:, None, None] + (places * _STEP).astype(np.uint64))
    if (sizes < most).any():
        numbers[np.broadcast_to((np.arange(most) >= sizes[:, None])[:, None], numbers.shape)] = _LAST
    return np.argsort(numbers, axis=2)


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    numbers ^= numbers >> np.uint64(30)
    numbers *= _FIRST
    numbers ^= numbers >> np.uint64(27)
    numbers *= _SECOND
    numbers ^= numbers >> np.uint64(31)
    return numbers
