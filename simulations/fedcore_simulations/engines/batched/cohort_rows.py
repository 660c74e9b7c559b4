"""The order in which many clients see their rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedcore.data.shuffles import shuffled


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of the clients that still have one.

    Attributes:
        rows: Rows of the population; shape ``(k, n)``. A client with a smaller batch repeats a row of its own.
        weights: Of each row's loss in its client's mean, 0 where it is repeated; shape ``(k, n)``.
        real: Whether each row is the client's next; ``None`` where all are.
    """

    rows: Tensor
    weights: Tensor
    real: Tensor | None


def steps_of(sizes: Sequence[int], *, epochs: int, batch_size: int) -> list[int]:
    """Number of steps of clients with so many rows."""
    return [epochs * -(-size // batch_size) for size in sizes]


class CohortRows:
    """The batches of some clients, which have the more rows the earlier they stand.

    Args:
        starts: First row of each client in the population.
        sizes: Number of rows of each.
        seeds: Of each client's random order, which is that of `train_locally`.
        dtype: Of the losses.
    """

    def __init__(
        self,
        starts: Sequence[int],
        sizes: Sequence[int],
        seeds: NDArray[np.int64],
        *,
        epochs: int,
        batch_size: int,
        dtype: torch.dtype,
    ) -> None:
        self._dtype = dtype
        steps = np.array(steps_of(sizes, epochs=epochs, batch_size=batch_size))
        self._steps = np.bincount(steps)[::-1].cumsum()[::-1]  # clients with at least so many steps
        own = steps // max(1, epochs)
        orders = shuffled(seeds, sizes, epochs=epochs)
        orders += np.array(starts, np.int64)[:, None, None]
        self._rows = np.empty((len(sizes), int(steps.max(initial=0)), batch_size), np.int64)
        self._filled = np.empty(self._rows.shape[:2], np.int64)
        for number in set(own[own > 0].tolist()):
            some = own == number
            self._rows[some, : epochs * number] = _batches(orders[some], number, batch_size)
            filled = np.minimum(batch_size, np.array(sizes)[some, None] - np.arange(number) * batch_size)
            self._filled[some, : epochs * number] = np.tile(filled, epochs)

    def __iter__(self) -> Iterator[Step]:
        return (self._step(number, int(active)) for number, active in enumerate(self._steps[1:]))

    def _step(self, number: int, active: int) -> Step:
        filled = self._filled[:active, number]
        width = int(filled.max())
        rows = torch.from_numpy(self._rows[:active, number, :width])
        if int(filled.min()) == width:
            return Step(rows=rows, weights=torch.full(rows.shape, 1.0 / width, dtype=self._dtype), real=None)
        real = np.arange(width) < filled[:, None]
        rows = torch.where(torch.from_numpy(real), rows, rows[:, :1])
        weights = torch.from_numpy(real / filled[:, None]).to(self._dtype)
        return Step(rows=rows, weights=weights, real=torch.from_numpy(real))


def _batches(orders: np.ndarray, number: int, batch_size: int) -> np.ndarray:
    """So many batches an epoch, of shape ``(k, epochs * number, batch_size)``; what is missing in the last is 0."""
    clients, epochs, rows = orders.shape
    whole = np.zeros((clients, epochs, number * batch_size), np.int64)
    whole[:, :, :rows] = orders[:, :, : number * batch_size]
    return whole.reshape(clients, -1, batch_size)
