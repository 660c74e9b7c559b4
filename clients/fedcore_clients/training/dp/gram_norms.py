"""Norms of sums of outer products, without the sums."""

from __future__ import annotations

import torch
from torch import Tensor

from fedcore.privacy.mechanisms import ROUNDING

EPS = torch.finfo(torch.float64).eps


def scale_of(numbers: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The largest number, which keeps products of the others within float64; 1 where all are zero."""
    largest = numbers.abs().amax(dims, keepdim=True)
    return torch.where(largest > 0.0, largest, torch.ones_like(largest))


def gram_norms(gradients: Tensor, inputs: Tensor) -> Tensor:
    """Squared norm of each record's sum of outer products, float64, shape ``(n,)``; of numbers of any size.

    Args:
        gradients: Shape ``(n, groups, positions, outputs)``.
        inputs: Shape ``(n, groups, positions, inputs)``.
    """
    if gradients.dtype == torch.float64:
        scales = [scale_of(each, (1, 2, 3)) for each in (gradients, inputs)]
        found = _within(gradients / scales[0], inputs / scales[1])
        return (found.sqrt() * (scales[0] * scales[1]).flatten()).square()
    return _within(gradients, inputs)


def _within(gradients: Tensor, inputs: Tensor) -> Tensor:
    """The same for numbers whose products float64 can hold."""
    records, positions = gradients.shape[:2], gradients.shape[2]
    left, right = (
        torch.bmm(each, each.mT) for each in (m.flatten(0, 1).to(torch.float64) for m in (gradients, inputs))
    )
    lengths = (left.diagonal(dim1=1, dim2=2) * right.diagonal(dim1=1, dim2=2)).clamp_(min=0.0).sqrt_().sum(1)
    inner = left.mul_(right).sum((1, 2))
    squared, lengths = (each.view(records).sum(1) for each in (inner, lengths))
    squared = squared.clamp_(min=0.0) + positions * EPS * lengths.square()
    return with_rounding(squared, positions * EPS * lengths)


def with_rounding(squared: Tensor, rounding: Tensor) -> Tensor:
    """Squared norms that bound what is really summed, also where large terms of a record cancel.

    The norm is that of the exact sum; float64 rounds what is added up in proportion to the terms and not to their sum.
    Where that is more than `ROUNDING` of the norm it is added to it, and the noise covers the rest.

    Args:
        rounding: Bound on the length of the rounding error of each record's sum, float64, shape ``(n,)``.
    """
    norms = squared.sqrt()
    return torch.where(rounding > ROUNDING * norms, (norms + rounding).square(), squared)
