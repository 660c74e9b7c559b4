"""Quantisation to 8 bits, rounded at random so that the mean is right.

Alistarh et al. 2017, "QSGD", arXiv 1610.02132, section 3.1, with 127 levels of the largest magnitude.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fedcore.aggregation.contract import Array, Context, Encoding
from fedcore.parameters import Tensors

_LEVELS = 127


class Int8(Encoding):
    """Whole numbers from -127 to 127, and one scale."""

    def declare(self, values: Array) -> tuple[Array, dict[str, Array]]:
        return Array(dtype="int8", size=values.size), {"scale": Array(dtype=values.dtype, size=1)}

    def encode(self, values: Tensor, kept: Tensors, context: Context) -> tuple[Tensor, Tensors, Tensors]:
        scale = values.abs().amax(dim=-1, keepdim=True) / _LEVELS
        levels = torch.where(scale > 0, values / scale, 0.0)
        rounded = (levels + context.uniform(levels)).floor().clamp(-_LEVELS, _LEVELS)
        return rounded.nan_to_num(nan=0.0).to(torch.int8), {"scale": scale}, {}

    def decode(self, values: Tensor, beside: Tensors, declared: Array) -> Tensor:
        return values.to(beside["scale"].dtype) * beside["scale"]
