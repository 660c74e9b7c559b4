"""The clients of a simulation: one copy of the rows, sorted by client, and views of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray

from fedcore.data.examples import Examples
from fedcore.storage.free_memory import check_free
from fedcore_clients.training.local_model import Client
from fedcore_simulations.partition.dealing import Partition

_SORTING_BYTES = 24
"""Of a row, while its place is found."""


class DealtClients(Sequence[Client]):
    """Clients by position, made on access, so that a hundred thousand cost only their rows.

    Args:
        rows: Of all clients: training and held-out rows of the first, then those of the second, and so on.
        ends: End of every such run in `rows`, two for each client; shape ``(2 * len(names),)``.
    """

    def __init__(self, names: Sequence[str], rows: Examples, ends: NDArray[np.int64]) -> None:
        self.names, self.rows, self._ends = names, rows, ends

    @classmethod
    def of(cls, examples: Examples, held_out: NDArray[np.bool_], division: Partition) -> DealtClients:
        check_free(
            examples.num_bytes + _SORTING_BYTES * len(examples),
            f"{len(examples):,} rows, to be sorted by client,",
            "take fewer rows, or a machine with more memory",
        )
        place = 2 * division.owner + held_out
        rows = examples.select(torch.from_numpy(np.argsort(place, kind="stable")))
        return cls(division.names, rows, np.cumsum(np.bincount(place, minlength=2 * len(division.names))))

    def to(self, *, dtype: torch.dtype, device: torch.device) -> DealtClients:
        return DealtClients(self.names, self.rows.to(dtype=dtype, device=device), self._ends)

    def training_places(self) -> tuple[list[int], list[int]]:
        """First training row of each client in `rows`, and their number."""
        starts = np.concatenate(([0], self._ends[1:-1:2]))
        return starts.tolist(), (self._ends[::2] - starts).tolist()

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Client: ...
    @overload
    def __getitem__(self, index: slice) -> list[Client]: ...
    def __getitem__(self, index: int | slice) -> Client | list[Client]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        position = range(len(self))[index]
        start = int(self._ends[2 * position - 1]) if position else 0
        middle, end = (int(each) for each in self._ends[2 * position : 2 * position + 2])
        held_out = self.rows.select(slice(middle, end)) if end > middle else None
        return Client(name=self.names[position], training=self.rows.select(slice(start, middle)), held_out=held_out)


def names_of(clients: Sequence[Client]) -> Sequence[str]:
    """The clients' names, without making any of them."""
    return clients.names if isinstance(clients, DealtClients) else [client.name for client in clients]


def training_sizes_of(clients: Sequence[Client]) -> list[int]:
    """Number of training rows of each client, without making any of them."""
    if isinstance(clients, DealtClients):
        return clients.training_places()[1]
    return [len(client.training) for client in clients]
