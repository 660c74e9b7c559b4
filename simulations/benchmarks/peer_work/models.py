"""The models of the works. Imports torch alone, so that a peer's own environment can build them too."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """A block of a transformer: attention with four heads, and a perceptron."""

    def __init__(self, width: int = 64, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.before, self.between = heads, nn.LayerNorm(width), nn.LayerNorm(width)
        self.joint, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, rows: Tensor) -> Tensor:
        count, length, width = rows.shape
        joint = self.joint(self.before(rows)).view(count, length, 3, self.heads, width // self.heads)
        seen = functional.scaled_dot_product_attention(*joint.permute(2, 0, 3, 1, 4))
        rows = rows + self.out(seen.transpose(1, 2).reshape(count, length, width))
        result: Tensor = rows + self.perceptron(self.between(rows))
        return result


class Transformer(nn.Module):
    def __init__(self, words: int = 200, length: int = 32, width: int = 64) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(words, width), nn.Embedding(length, width)
        self.blocks, self.head = nn.Sequential(Block(width), Block(width)), nn.Linear(width, 10)

    def forward(self, tokens: Tensor) -> Tensor:
        places = torch.arange(tokens.shape[1]).expand(tokens.shape)
        result: Tensor = self.head(self.blocks(self.words(tokens) + self.places(places)).mean(1))
        return result


def convolutions() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(64 * 14 * 14, 128), nn.ReLU(), nn.Linear(128, 10)),
    )


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def blazefl_network() -> nn.Module:
    """The network of BlazeFL's benchmark, which is that of PyTorch's tutorial for CIFAR-10."""
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )


MODELS: dict[str, Callable[[], nn.Module]] = {
    "convolutions": convolutions,
    "perceptron": perceptron,
    "transformer": Transformer,
    "regression": lambda: nn.Linear(100, 10),
    "blazefl": blazefl_network,
}
