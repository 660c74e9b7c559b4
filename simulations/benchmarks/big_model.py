"""A model of any size that is next to no work to train, for benchmarks of everything around it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from fedcore import Examples, Regression

_ROWS, _LAYERS = 16, 25


class _Weights(nn.Module):
    """Layers of random numbers, of which the first few are used; random, so that no two pieces are alike."""

    def __init__(self, size: int) -> None:
        super().__init__()
        sizes = [size // _LAYERS] * _LAYERS if size >= 4 * _LAYERS else [size]
        sizes[0] += size - sum(sizes)
        self.layers = nn.ParameterList(torch.randn(each) for each in sizes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Predict from each layer's first weights; every weight gets a gradient, most of them zero."""
        return inputs @ torch.stack([layer[: inputs.shape[1]] for layer in self.layers]).sum(0)[:, None]


class BigModel(Regression):
    """`size` float32 numbers. What is drawn is drawn from the plan's seed."""

    name = "big-model"

    def __init__(self, size: int = 4) -> None:
        self.size = size

    def build_model(self) -> nn.Module:
        """All weights in one parameter."""
        return _Weights(self.size)

    def load_data(self, path: Path | None) -> Examples:
        """A few rows of nothing in particular."""
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randn(_ROWS, min(4, self.size), generator=generator)
        return Examples(columns={"inputs": inputs, "targets": inputs.sum(1, keepdim=True)})
