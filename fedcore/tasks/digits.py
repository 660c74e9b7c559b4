"""``digits``: handwritten digits, audited by how thick their strokes are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedcore.data.examples import Attribute, Examples
from fedcore.task_families import Classification
from fedcore.tasks.bundled import refuse_path, sklearn_table

STROKES = ("light", "medium", "heavy")
_INK_EDGES = (18.5, 20.5)


class Digits(Classification):
    """1,797 real digits of 8 x 8 grey values (Alpaydin and Kaynak 1998, UCI), carried by scikit-learn."""

    name = "digits"
    labels = tuple(str(digit) for digit in range(10))
    preprocessing = "public: every image is standardised by itself; stroke is the image's own amount of ink"

    def build_model(self) -> nn.Module:
        """One convolution of 5 x 5 and a linear layer: 5,962 parameters, few enough for noise to leave a signal.

        The layer norm has no parameters of its own; it keeps the linear layer's inputs at one scale while noise
        lets the convolution drift.
        """
        return nn.Sequential(
            nn.Conv2d(1, 32, kernel_size=5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.LayerNorm(32 * 4 * 4, elementwise_affine=False),
            nn.Linear(32 * 4 * 4, len(self.labels)),
        )

    def load_data(self, path: Path | None) -> Examples:
        """All digits, from the installation; a `path` is refused, since it would not be read."""
        refuse_path(self.name, path)
        table = sklearn_table("digits.csv.gz", separator=",")
        images, digits = table[:, :-1], table[:, -1]
        return Examples(
            columns={
                "inputs": torch.tensor(_standardised(images), dtype=torch.float32).view(-1, 1, 8, 8),
                "targets": torch.tensor(digits, dtype=torch.int64),
            },
            attributes={"stroke": _stroke(images)},
        )


def _standardised(images: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each image with mean 0 and standard deviation 1; no image is constant."""
    standardised: NDArray[np.float64] = (images - images.mean(axis=1, keepdims=True)) / images.std(
        axis=1, keepdims=True
    )
    return standardised


def _stroke(images: NDArray[np.float64]) -> Attribute:
    """Group images by their ink: the sum of grey values in units of a black pixel."""
    codes = np.digitize(images.sum(axis=1) / 16.0, _INK_EDGES)
    return Attribute.from_values((STROKES[code] for code in codes), vocabulary=STROKES, name="stroke")
