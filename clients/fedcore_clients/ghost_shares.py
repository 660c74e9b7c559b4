"""What each kind of layer contributes to per-record gradients, from its inputs and its outputs' gradients.

A layer's weight gradient is a product of what came in and of the gradient of what went out. The norm of every
record's gradient, and the weighted sum over records, follow from these two without writing the per-record
gradients down (Goodfellow 2015, arXiv 1510.01799; Li et al. 2021, arXiv 2110.05679, section 4; Bu et al. 2022,
arXiv 2210.00038, for the sum from the same pass). They are written down only where they are small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

_PIECE = 2**18
"""Numbers of a layer worked on at once, where that is a choice: about a core's second-level cache."""


@dataclass(slots=True)
class Call:
    """One call of a layer: its input and the gradient of the summed loss with respect to its output, rows first."""

    inputs: Tensor
    gradient: Tensor


class Share(Protocol):
    """The part of one parameter in every record's gradient."""

    parameter: nn.Parameter

    def squared_norms(self) -> Tensor:
        """Squared Euclidean norm for each record, float64, shape ``(n,)``."""

    def weighted_sum(self, factors: Tensor) -> Tensor:
        """Sum over records of factor times gradient; `factors` float64, shape ``(n,)``. Shaped like the parameter."""

    def blank(self, records: Tensor) -> None:
        """Make the gradients of the records at these row numbers zero, whatever they hold now."""


class Written:
    """Per-record gradients as they are, for parameters of which they are small; in float64."""

    def __init__(self, parameter: nn.Parameter, gradients: Tensor) -> None:
        self.parameter = parameter
        self._gradients = gradients.flatten(1).to(torch.float64)

    def squared_norms(self) -> Tensor:
        return torch.linalg.vecdot(self._gradients, self._gradients)

    def weighted_sum(self, factors: Tensor) -> Tensor:
        return (factors @ self._gradients).view(self.parameter.shape)

    def blank(self, records: Tensor) -> None:
        self._gradients = self._gradients.index_fill(0, records, 0.0)


class Product:
    """A gradient that is for each record and group a product ``Dᵀ A`` of two matrices of `positions` rows.

    ``D`` holds output gradients, `positions` × outputs, and ``A`` inputs, `positions` × inputs. With one
    position the squared norm is ``‖D‖² ‖A‖²``; with many it is the inner product of ``D Dᵀ`` and ``A Aᵀ``, in
    float64, since the terms may cancel.

    Args:
        matrices: Gives ``D`` and ``A`` for some rows, each of shape ``(rows, groups, positions, ·)``.
    """

    def __init__(self, parameter: nn.Parameter, calls: list[Call], matrices: Matrices, sizes: Sizes) -> None:
        self.parameter = parameter
        self._calls, self._matrices, self._sizes = calls, matrices, sizes

    def squared_norms(self) -> Tensor:
        norms = _rank_one_norms if self._sizes.positions == 1 else _gram_norms
        return torch.cat([norms(*pair) for _, pair in self._pairs()])

    def weighted_sum(self, factors: Tensor) -> Tensor:
        total = None
        for rows, (gradients, inputs) in self._pairs():
            # Weighted in float64: a factor may be below what float32 can hold, where the gradient is huge.
            weighted = (gradients * factors[rows, None, None, None]).to(inputs.dtype)
            part = torch.bmm(_joined(weighted).mT, _joined(inputs))
            total = part if total is None else total.add_(part)
        if total is None:
            return torch.zeros_like(self.parameter)
        return total.view(self.parameter.shape)

    def blank(self, records: Tensor) -> None:
        self._calls = [
            Call(call.inputs.index_fill(0, records, 0.0), call.gradient.index_fill(0, records, 0.0))
            for call in self._calls
        ]

    def written(self) -> Written:
        """The same share with its per-record gradients written down."""
        n, sizes = len(self._calls[0].inputs), self._sizes
        gradients = self._calls[0].gradient.new_empty(
            (n, sizes.groups, sizes.outputs, sizes.inputs), dtype=torch.float64
        )
        for rows, (deltas, inputs) in self._pairs():
            product = torch.bmm(deltas.flatten(0, 1).mT, inputs.flatten(0, 1))
            gradients[rows] = product.view(-1, *gradients.shape[1:])
        return Written(self.parameter, gradients)

    def _pairs(self) -> Iterator[tuple[slice, tuple[Tensor, Tensor]]]:
        """Rows and their matrices, a piece after the other."""
        n = len(self._calls[0].inputs)
        step = max(1, _PIECE // self._sizes.numbers) if self._sizes.positions > 1 else max(1, n)
        for start in range(0, n, step):
            rows = slice(start, start + step)
            pairs = [self._matrices(Call(call.inputs[rows], call.gradient[rows])) for call in self._calls]
            yield rows, pairs[0] if len(pairs) == 1 else _stacked(pairs)


Matrices = Callable[[Call], tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of a record's two matrices in a `Product`."""

    groups: int
    positions: int
    outputs: int
    inputs: int

    @property
    def numbers(self) -> int:
        """Numbers in a record's two matrices."""
        return self.groups * self.positions * (self.outputs + self.inputs)

    @property
    def worth_writing(self) -> bool:
        """Whether a record's gradient takes no more room than the matrices it is made of, give or take."""
        return self.positions > 1 and self.groups * self.outputs * self.inputs <= 2 * self.numbers


class LookedUp:
    """The gradient of an embedding: each token's output gradient goes to the token's row."""

    def __init__(self, parameter: nn.Parameter, tokens: Tensor, gradients: Tensor) -> None:
        self.parameter = parameter
        self._tokens, self._gradients = tokens, gradients

    def squared_norms(self) -> Tensor:
        n, length = self._tokens.shape
        record = torch.arange(n, device=self._tokens.device)[:, None]
        keys, place = torch.unique(self._tokens + record * len(self.parameter), return_inverse=True)
        summed = self._gradients.new_zeros((len(keys), self._gradients.shape[-1]), dtype=torch.float64)
        summed.index_add_(0, place.flatten(), self._gradients.flatten(0, 1).to(torch.float64))
        squared = torch.linalg.vecdot(summed, summed)
        return squared.new_zeros(n).index_add_(0, keys // len(self.parameter), squared)

    def weighted_sum(self, factors: Tensor) -> Tensor:
        weighted = (self._gradients * factors[:, None, None]).flatten(0, 1)
        return weighted.new_zeros(self.parameter.shape).index_add_(0, self._tokens.flatten(), weighted)

    def blank(self, records: Tensor) -> None:
        self._gradients = self._gradients.index_fill(0, records, 0.0)


def _rank_one_norms(gradients: Tensor, inputs: Tensor) -> Tensor:
    return (_squares(gradients.flatten(2)) * _squares(inputs.flatten(2))).sum(1)


def _squares(vectors: Tensor) -> Tensor:
    """Squared norms along the last dimension, in float64."""
    return torch.linalg.vector_norm(vectors, dim=-1, dtype=torch.float64).square()


def _gram_norms(gradients: Tensor, inputs: Tensor) -> Tensor:
    left, right = (matrix.flatten(0, 1).to(torch.float64) for matrix in (gradients, inputs))
    inner = torch.linalg.vecdot(torch.bmm(left, left.mT).flatten(1), torch.bmm(right, right.mT).flatten(1))
    return inner.view(gradients.shape[:2]).sum(1).clamp_(min=0.0)


def _joined(matrix: Tensor) -> Tensor:
    """All records' positions one after the other: ``(groups, rows * positions, ·)``."""
    return matrix.transpose(0, 1).flatten(1, 2)


def _stacked(pairs: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    return torch.cat([pair[0] for pair in pairs], 2), torch.cat([pair[1] for pair in pairs], 2)


def product_share(parameter: nn.Parameter, calls: list[Call], matrices: Matrices, sizes: Sizes) -> Share:
    """The share of a weight, written down where that is no dearer than its matrices."""
    product = Product(parameter, calls, matrices, sizes)
    return product.written() if sizes.worth_writing else product
