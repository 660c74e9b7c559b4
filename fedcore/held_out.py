"""Which rows are kept for evaluation and never trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from fedcore.seeding import torch_generator


def held_out_rows(num_rows: int, share: float, seed: int, *, owner: str = "") -> Tensor:
    """Mark the held-out rows of a data set of `num_rows`.

    The choice depends on the number of rows and the seed alone, never on a value, so that whatever is
    drafted from training rows (a schema, a range) can know them before the data is read.

    Args:
        owner: Name of the client in a deployment; empty for the pooled rows of a simulation.

    Returns:
        Boolean, shape ``(num_rows,)``; ``round(share * num_rows)`` are true, at least one row is not.
    """
    count = min(round(share * num_rows), num_rows - 1)
    order = torch.randperm(num_rows, generator=torch_generator(seed, "held-out", owner))
    marked = torch.zeros(num_rows, dtype=torch.bool)
    marked[order[:count]] = True
    return marked
