"""Top-k sparsification with error feedback: the largest values are sent, the others added the next time.

Stich et al. 2018, "Sparsified SGD with memory", arXiv 1809.07599, algorithm 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fedcore.aggregation.contract import Array, Context, Encoding
from fedcore.errors import DataError
from fedcore.parameters import Tensors


class TopK(Encoding):
    """The values of largest magnitude, with their places.

    Args:
        share: Share of the values that are sent.
    """

    keeps = ("residual",)

    def __init__(self, share: float = 0.05) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"share: expected a number above 0, at most 1, found {share!r}")
        self.share = float(share)

    def declare(self, values: Array) -> tuple[Array, dict[str, Array]]:
        count = self._count(values.size)
        return Array(dtype=values.dtype, size=count), {"index": Array(dtype="int32", size=count)}

    def encode(self, values: Tensor, kept: Tensors, context: Context) -> tuple[Tensor, Tensors, Tensors]:
        wanted = values + kept["residual"]
        index = wanted.abs().topk(self._count(values.shape[-1]), dim=-1).indices.sort(dim=-1).values
        sent = wanted.gather(-1, index)
        return sent, {"index": index.to(torch.int32)}, {"residual": wanted.scatter(-1, index, 0.0)}

    def decode(self, values: Tensor, beside: Tensors, declared: Array) -> Tensor:
        index = beside["index"].to(torch.int64)
        if bool((index < 0).any()) or bool((index >= declared.size).any()) or bool((index.diff(dim=-1) <= 0).any()):
            raise DataError("top-k: expected rising places within the update")
        whole = torch.zeros(*values.shape[:-1], declared.size, dtype=values.dtype)
        return whole.scatter(-1, index, values)

    def _count(self, size: int) -> int:
        return max(1, math.ceil(self.share * size))
