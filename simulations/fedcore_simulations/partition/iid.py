"""Shuffled rows, dealt evenly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fedcore.seeding import numpy_generator
from fedcore_simulations.partition.contract import Owner, Rows
from fedcore_simulations.partition.cut import cut

if TYPE_CHECKING:
    from fedcore.data.examples import Examples


class Iid:
    """Where even shares leave a client without a training row, training rows and held-out rows are dealt separately.

    Of the held-out rows a client may then have none.
    """

    remedy = "more rows"

    def names(self, examples: Examples) -> None:
        return None

    def deal(self, rows: Rows, generator: np.random.Generator) -> Owner:
        even = np.full(rows.clients, 1 / rows.clients)
        owner = cut(generator.permutation(len(rows)), even)
        if np.bincount(owner[~rows.held_out], minlength=rows.clients).all():
            return owner
        apart = numpy_generator(rows.seed, "partition", "apart")
        for held_out in (False, True):
            chosen = np.flatnonzero(rows.held_out == held_out)
            owner[chosen] = cut(apart.permutation(len(chosen)), even)
        return owner
