"""A model of any size that is next to no work to train, for benchmarks of everything around it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from fedcore import Examples, Regression

_ROWS = 16


class _Weights(nn.Module):
    """Random numbers, of which the first few are used; random, so that no two pieces of it are alike."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(size))

    def forward(self, inputs: Tensor) -> Tensor:
        """Predict from the first weights; every weight gets a gradient, most of them zero."""
        return inputs @ self.weights[: inputs.shape[1], None]


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
