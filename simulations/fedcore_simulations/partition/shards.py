"""Rows sorted by class, and K equal shards of them for each client: McMahan et al. 2017, arXiv 1602.05629."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fedcore_simulations.partition.contract import Owner, Rows

if TYPE_CHECKING:
    from fedcore.data.examples import Examples


class Shards:
    remedy = "more shards for each client"

    def __init__(self, per_client: int) -> None:
        if not isinstance(per_client, int) or per_client < 1:
            raise ValueError(f"expected shards:K with a whole number K > 0, found {per_client!r}")
        self._per_client = per_client

    def names(self, examples: Examples) -> None:
        return None

    def deal(self, rows: Rows, generator: np.random.Generator) -> Owner:
        classes = rows.classes
        by_class = np.argsort(classes + generator.random(len(classes)) * 0.5, kind="stable")
        shards = generator.permutation(rows.clients * self._per_client) // self._per_client
        owner = np.empty(len(classes), dtype=np.int64)
        owner[by_class] = shards[np.arange(len(classes)) * len(shards) // len(classes)]
        return owner
