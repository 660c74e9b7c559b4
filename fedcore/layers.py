"""Layers for models built from ready-made parts."""

from __future__ import annotations

from torch import Tensor, nn


class Times(nn.Module):
    """Multiplies by a constant, such as the unit of a target."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = float(factor)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.factor * inputs
