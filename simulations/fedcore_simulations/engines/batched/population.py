"""All clients' training rows as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from fedcore.data.examples import Examples
from fedcore_clients.training.local_model import Client
from fedcore_simulations.dealt_clients import DealtClients, names_of, training_sizes_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """Where each client's training rows are.

    Attributes:
        starts: First row of each client in `rows`.
        sizes: Number of training rows of each.
    """

    names: Sequence[str]
    rows: Examples
    starts: Sequence[int]
    sizes: Sequence[int]

    @classmethod
    def of(cls, clients: Sequence[Client]) -> Population:
        if isinstance(clients, DealtClients):
            starts, sizes = clients.training_places()
            return cls(names=clients.names, rows=clients.rows, starts=starts, sizes=sizes)
        sizes = training_sizes_of(clients)
        return cls(
            names=names_of(clients),
            rows=Examples.joined([client.training for client in clients]),
            starts=list(accumulate(sizes, initial=0))[:-1],
            sizes=sizes,
        )
