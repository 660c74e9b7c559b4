"""Contributions of each kind of layer to per-record gradients, from its inputs and output gradients.

A layer's weight gradient is a product of its input and its output gradient. The norm of every record's gradient, and
the weighted sum over records, follow from these two without the per-record gradients (Goodfellow 2015, arXiv
1510.01799; Li et al. 2021, arXiv 2110.05679, section 4; Bu et al. 2022, arXiv 2210.00038, for the sum from the same
pass). These are materialised only where they are small.

Norms and sums are float64, whatever the model's type: an error bound of float32 sums grows with the square of the
number of records, and factors below float32's range would lose the digits that clipping rests on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from fedcore_clients.training.dp.gram_norms import EPS, gram_norms, scale_of, with_rounding

_PIECE = 2**18
"""Numbers of a layer per block, where possible: about a core's second-level cache."""


@dataclass(slots=True)
class Call:
    """One call of a layer: its input and the gradient of the summed loss with respect to its output, rows first."""

    inputs: Tensor
    gradient: Tensor

    def blanked(self, records: Tensor) -> Call:
        """The same call with zeros at these rows."""
        return Call(_blanked(self.inputs, records), _blanked(self.gradient, records))


class Share(Protocol):
    """The part of one layer's parameters in every record's gradient."""

    def squared_norms(self) -> Tensor:
        """Squared Euclidean norm for each record, float64, shape ``(n,)``."""

    def add_weighted_sums(self, factors: Tensor, sums: Mapping[Tensor, Tensor]) -> None:
        """Add the sum over records of factor times gradient to each parameter's place in `sums`.

        Args:
            factors: Float64, shape ``(n,)``.
            sums: For each parameter a float64 tensor of its shape.
        """

    def add_sums_of_groups(self, factors: Tensor, sums: Mapping[Tensor, Tensor]) -> None:
        """As `add_weighted_sums` for k groups of equally many rows, one group after the other.

        Args:
            sums: For each parameter a float64 tensor with a row for each group, shape ``(k, …)``; contiguous.
        """

    def blank(self, records: Tensor) -> None:
        """Make the gradients of these records zero, whatever they hold now.

        Args:
            records: Row numbers, or a mask of shape ``(n,)``.
        """


class Written:
    """Materialised per-record gradients, for parameters whose gradients are small.

    Args:
        gradients: Shape ``(n, ...)``.
    """

    def __init__(self, parameter: Tensor, gradients: Tensor) -> None:
        self._parameter = parameter
        self._gradients = gradients.reshape(len(gradients), -1)

    def squared_norms(self) -> Tensor:
        return _squares(self._gradients)

    def add_weighted_sums(self, factors: Tensor, sums: Mapping[Tensor, Tensor]) -> None:
        total = sums[self._parameter].view(-1)
        step = max(1, _PIECE // max(1, len(total)))  # in pieces, since a float64 copy of all would be large
        for part, weights in zip(torch.split(self._gradients, step), torch.split(factors, step), strict=True):
            total.addmv_(part.to(torch.float64).mT, weights)

    def add_sums_of_groups(self, factors: Tensor, sums: Mapping[Tensor, Tensor]) -> None:
        total = sums[self._parameter]
        gradients = self._gradients.view(len(total), -1, self._gradients.shape[1]).to(torch.float64)
        total.view(len(total), 1, -1).baddbmm_(factors.view(len(total), 1, -1), gradients)

    def blank(self, records: Tensor) -> None:
        self._gradients = _blanked(self._gradients, records)


class OuterProduct:
    """Weight and bias of a linear layer that is called once with one vector a record.

    The gradients are the outer product of output gradient and input, and the output gradient itself, so that the
    squared norm is ``‖δ‖² (‖a‖² + 1)``.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, call: Call) -> None:
        self._weight, self._bias, self._call = weight, bias, call

    def squared_norms(self) -> Tensor:
        one = torch.ones((), dtype=torch.float64, device=self._call.gradient.device)
        inputs = _norms(self._call.inputs) if self._weight.requires_grad else 0.0 * one
        with_bias = self._bias is not None and self._bias.requires_grad
        # Multiplied before they are squared: the square of one alone may be too small for float64.
        return (_norms(self._call.gradient) * torch.hypot(inputs, one if with_bias else 0.0 * one)).square()

    def add_weighted_sums(self, factors: Tensor, sums: Mapping[Tensor, Tensor]) -> None:
        gradient = _weighted(self._call.gradient, factors)
        if self._weight.requires_grad:
            sums[self._weight].addmm_(gradient.mT, self._call.inputs.to(torch.float64))
        if self._bias is not None and self._bias.requires_grad:
            sums[self._bias].add_(gradient.sum(0))

    def add_sums_of_groups(self, factors: Tensor, sums: Mapping[Tensor, Tensor]) -> None:
        groups = len(next(iter(sums.values())))
        gradient = _weighted(self._call.gradient, factors).view(groups, -1, self._call.gradient.shape[1])
        if self._weight.requires_grad:
            inputs = self._call.inputs.to(torch.float64).view(groups, -1, self._call.inputs.shape[1])
            sums[self._weight].baddbmm_(gradient.mT, inputs)
        if self._bias is not None and self._bias.requires_grad:
            sums[self._bias].add_(gradient.sum(1))

    def blank(self, records: Tensor) -> None:
        self._call = self._call.blanked(records)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of a record's two matrices in a `Product`."""

    groups: int
    positions: int
    outputs: int
    inputs: int

    @property
    def numbers(self) -> int:
        return self.groups * self.positions * (self.outputs + self.inputs)

    @property
    def worth_writing(self) -> bool:
        """Whether a record's gradient needs about as little memory as its matrices."""
        return self.groups * self.outputs * self.inputs <= 2 * self.numbers


Matrices = Callable[[Call], tuple[Tensor, Tensor]]


class Product:
    """A gradient that is, for each record and group, a product ``Dᵀ A`` of two matrices of `positions` rows.

    ``D`` holds output gradients, `positions` × outputs, and ``A`` inputs, `positions` × inputs. The squared norm is the
    inner product of ``D Dᵀ`` and ``A Aᵀ``, in float64, since its terms may cancel.

    Args:
        matrices: Gives ``D`` and ``A`` for the rows of a call, each of shape ``(rows, groups, positions, ·)``.
    """

    def __init__(self, parameter: Tensor, calls: list[Call], matrices: Matrices, sizes: Sizes) -> None:
        self._parameter = parameter
        self._calls, self._matrices, self._sizes = calls, matrices, sizes

    def squared_norms(self) -> Tensor:
        return torch.cat([gram_norms(*pair) for _, pair in self._pairs()])

    def add_weighted_sums(self, factors: Tensor, sums: Mapping[Tensor, Tensor]) -> None:
        sizes = self._sizes
        total = sums[self._parameter].view(sizes.groups, sizes.outputs, sizes.inputs)
        for rows, (gradients, inputs) in self._pairs():
            weighted = _weighted(gradients, factors[rows])
            total.baddbmm_(_joined(weighted).mT, _joined(inputs.to(torch.float64)))

    def add_sums_of_groups(self, factors: Tensor, sums: Mapping[Tensor, Tensor]) -> None:
        rows = len(factors) // len(sums[self._parameter])
        for group, total in enumerate(sums[self._parameter]):
            own = slice(group * rows, (group + 1) * rows)
            calls = [Call(call.inputs[own], call.gradient[own]) for call in self._calls]
            alone = Product(self._parameter, calls, self._matrices, self._sizes)
            alone.add_weighted_sums(factors[own], {self._parameter: total})

    def blank(self, records: Tensor) -> None:
        self._calls = [call.blanked(records) for call in self._calls]

    def written(self) -> Written:
        sizes = self._sizes
        shape = (len(self._calls[0].inputs), sizes.groups, sizes.outputs, sizes.inputs)
        written = self._calls[0].gradient.new_empty(shape)
        for rows, (gradients, inputs) in self._pairs():
            torch.bmm(gradients.flatten(0, 1).mT, inputs.flatten(0, 1), out=written[rows].flatten(0, 1))
        return Written(self._parameter, written)

    def _pairs(self) -> Iterator[tuple[slice, tuple[Tensor, Tensor]]]:
        """Rows and their matrices, one block after the other."""
        step = max(1, _PIECE // self._sizes.numbers)
        for start in range(0, len(self._calls[0].inputs), step):
            rows = slice(start, start + step)
            pairs = [self._matrices(Call(call.inputs[rows], call.gradient[rows])) for call in self._calls]
            yield rows, pairs[0] if len(pairs) == 1 else _stacked(pairs)


class LookedUp:
    """The gradient of an embedding: each token's output gradient goes to the token's row."""

    def __init__(self, parameter: Tensor, tokens: Tensor, gradients: Tensor) -> None:
        on_cpu = tokens.device.type == "cpu"  # elsewhere the layer refuses them itself, and to look would wait for it
        if on_cpu and tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < len(parameter):
            raise IndexError("a token is outside of the embedding: its gradient would be another record's")
        self._parameter = parameter
        self._tokens, self._gradients = tokens, gradients

    def squared_norms(self) -> Tensor:
        n = len(self._tokens)
        record = torch.arange(n, device=self._tokens.device)[:, None]
        keys, place = torch.unique(self._tokens + record * len(self._parameter), return_inverse=True)
        summed = self._gradients.new_zeros((len(keys), self._gradients.shape[-1]), dtype=torch.float64)
        summed.index_add_(0, place.flatten(), self._gradients.flatten(0, 1).to(torch.float64))
        parts = _squares(summed)
        squared = parts.new_zeros(n).index_add_(0, keys // len(self._parameter), parts)
        lengths = _squares(self._gradients).sqrt_().sum(1)
        return with_rounding(squared, self._tokens.shape[1] * EPS * lengths)

    def add_weighted_sums(self, factors: Tensor, sums: Mapping[Tensor, Tensor]) -> None:
        weighted = _weighted(self._gradients, factors).flatten(0, 1)
        sums[self._parameter].index_add_(0, self._tokens.flatten(), weighted)

    def add_sums_of_groups(self, factors: Tensor, sums: Mapping[Tensor, Tensor]) -> None:
        total, words = sums[self._parameter], len(self._parameter)
        group = torch.arange(len(total), device=total.device)
        group = group.repeat_interleave(len(factors) // len(total)).view(-1, 1)
        weighted = _weighted(self._gradients, factors).flatten(0, 1)
        total.view(len(total) * words, -1).index_add_(0, (self._tokens + group * words).flatten(), weighted)

    def blank(self, records: Tensor) -> None:
        self._gradients = _blanked(self._gradients, records)


def _blanked(rows: Tensor, records: Tensor) -> Tensor:
    if records.dtype == torch.bool:
        return rows.masked_fill(records.view(-1, *(1 for _ in rows.shape[1:])), 0.0)
    return rows.index_fill(0, records, 0.0)


def _weighted(rows: Tensor, factors: Tensor) -> Tensor:
    return rows * factors.view(-1, *(1 for _ in rows.shape[1:]))


def _squares(vectors: Tensor) -> Tensor:
    return _norms(vectors).square()


def _norms(vectors: Tensor) -> Tensor:
    """Norms along the last dimension, in float64; for float64 numbers of any size."""
    scaled = vectors.dtype == torch.float64 and vectors.shape[-1] > 0
    scale = scale_of(vectors, (-1,)) if scaled else None
    norms: Tensor = torch.linalg.vector_norm(vectors if scale is None else vectors / scale, dim=-1, dtype=torch.float64)
    return norms if scale is None else norms * scale.squeeze(-1)


def _joined(matrix: Tensor) -> Tensor:
    """All records' positions in sequence: ``(groups, rows * positions, ·)``."""
    return matrix.transpose(0, 1).flatten(1, 2)


def _stacked(pairs: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    return torch.cat([pair[0] for pair in pairs], 2), torch.cat([pair[1] for pair in pairs], 2)


def product_share(parameter: Tensor, calls: list[Call], matrices: Matrices, sizes: Sizes) -> Share:
    """The share of a weight, materialised where that needs no more memory than its matrices."""
    product = Product(parameter, calls, matrices, sizes)
    return product.written() if sizes.worth_writing else product
