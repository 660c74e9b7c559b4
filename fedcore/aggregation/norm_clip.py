"""Clipping: an update is scaled down to a largest Euclidean norm."""

from __future__ import annotations

import math

from torch import Tensor
from torch.linalg import vector_norm

from fedcore.aggregation.contract import Array, Context, Encoding
from fedcore.parameters import Tensors

_ROUNDING = 1.0 + 1e-5


class NormClip(Encoding):
    """Bounds each client's influence on the model. Not a privacy mechanism: it adds no noise.

    Args:
        max_norm: Largest norm, positive.
    """

    def __init__(self, max_norm: float = 1.0) -> None:
        if not 0 < max_norm < math.inf:
            raise ValueError(f"max-norm: expected a number above 0, found {max_norm!r}")
        self.max_norm = float(max_norm)

    def encode(self, values: Tensor, kept: Tensors, context: Context) -> tuple[Tensor, Tensors, Tensors]:
        return self._clipped(values), {}, {}

    def decode(self, values: Tensor, beside: Tensors, declared: Array) -> Tensor:
        """Clip again where the client did not, since the server cannot rely on it."""
        longest = float(vector_norm(values.double(), dim=-1).max())
        return self._clipped(values) if longest > self.max_norm * _ROUNDING else values

    def _clipped(self, values: Tensor) -> Tensor:
        norms = vector_norm(values.double(), dim=-1, keepdim=True)
        factors = (self.max_norm / norms).clamp(max=1.0).nan_to_num(nan=1.0)
        clipped: Tensor = values * factors.to(values.dtype)
        return clipped
