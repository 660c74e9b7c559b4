"""A task: what is learned, and from which data. fedcore does the rest."""

from pathlib import Path

import torch
from torch import nn

from fedcore import Attribute, Classification, Examples


class MyTask(Classification):
    name = "my-task"
    labels = ("healthy", "ill")

    def build_model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 2))

    def load_data(self, path: Path | None) -> Examples:
        # Replace this by your own data. A client's rows are at `path`; a simulation loads all rows at once.
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randn(1000, 5, generator=generator)
        targets = (inputs[:, 0] + inputs[:, 1] > torch.randn(1000, generator=generator)).long()
        sex = Attribute.from_values(["female", "male"] * 500, vocabulary=["female", "male"], name="sex")
        return Examples(columns={"inputs": inputs, "targets": targets}, attributes={"sex": sex})
