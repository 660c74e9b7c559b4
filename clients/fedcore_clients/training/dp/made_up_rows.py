"""Rows of nobody, to try a task without reading a client's own."""

from __future__ import annotations

import torch
from torch import Tensor

from fedcore.data.examples import Examples

_ROWS = 64


def made_up_rows(like: Examples, num_labels: int) -> Examples:
    """Rows of the same columns: normal numbers, targets among the labels, and other whole numbers 0 or 1.

    Guarantee:
        They depend on the names, shapes and types of the columns of `like`, and on no row of it.

    Args:
        num_labels: Of the task; 0 where targets are numbers.
    """
    generator = torch.Generator().manual_seed(0)

    def column(name: str, given: Tensor) -> Tensor:
        shape = (_ROWS, *given.shape[1:])
        if given.is_floating_point():
            return torch.randn(shape, generator=generator).to(given.dtype)
        most = num_labels if name == "targets" and num_labels else 2
        return torch.randint(0, most, shape, generator=generator).to(given.dtype)

    return Examples(columns={name: column(name, given) for name, given in like.columns.items()})
