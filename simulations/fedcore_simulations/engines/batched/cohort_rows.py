"""The order in which many clients see their rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedcore.seeding import derive_seed


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of the clients that still have one.

    Attributes:
        rows: Rows of the population; shape ``(k, n)``. A client with a smaller batch repeats a row of its own.
        weights: Of each row's loss in its client's mean, 0 where it is repeated; shape ``(k, n)``, float64.
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
        streams: Name of each client's random order, which is that of `train_locally`.
    """

    def __init__(
        self,
        starts: Sequence[int],
        sizes: Sequence[int],
        streams: Sequence[tuple[str | int, ...]],
        *,
        seed: int,
        epochs: int,
        batch_size: int,
    ) -> None:
        steps = np.array(steps_of(sizes, epochs=epochs, batch_size=batch_size))
        self._steps = np.bincount(steps)[::-1].cumsum()[::-1]  # clients with at least so many steps
        own = steps // max(1, epochs)
        shuffled = torch.zeros((len(sizes), epochs, int(own.max(initial=0)) * batch_size), dtype=torch.int64)
        generator = torch.Generator()
        for order, size, stream in zip(shuffled[:, :, : max(sizes)].unbind(), sizes, streams, strict=True):
            generator.manual_seed(derive_seed(seed, *stream))
            for epoch in order.unbind():
                torch.randperm(size, generator=generator, out=epoch if len(epoch) == size else epoch[:size])
        orders = shuffled.numpy()
        orders += np.array(starts, np.int64)[:, None, None]
        self._rows = np.zeros((len(sizes), int(steps.max(initial=0)), batch_size), np.int64)
        self._filled = np.zeros(self._rows.shape[:2], np.int64)
        for number in set(own[own > 0].tolist()):
            some = own == number
            whole = orders[some, :, : number * batch_size]
            self._rows[some, : epochs * number] = whole.reshape(len(whole), -1, batch_size)
            filled = np.minimum(batch_size, np.array(sizes)[some, None] - np.arange(number) * batch_size)
            self._filled[some, : epochs * number] = np.tile(filled, epochs)

    def __iter__(self) -> Iterator[Step]:
        return (self._step(number, int(active)) for number, active in enumerate(self._steps[1:]))

    def _step(self, number: int, active: int) -> Step:
        filled = self._filled[:active, number]
        width = int(filled.max())
        real = None if int(filled.min()) == width else torch.from_numpy(np.arange(width) < filled[:, None])
        weights = torch.from_numpy(1.0 / filled).unsqueeze(1).expand(-1, width)
        rows = torch.from_numpy(self._rows[:active, number, :width])
        return Step(rows=rows, weights=weights if real is None else weights * real, real=real)
