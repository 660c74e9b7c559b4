"""Ready-made families of tasks: subclass one, and write `build_model` and `load_data`.

Every loss here is one value per row, independent of other rows, as record-level privacy
requires (see ``fedcore.privacy.linter``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from fedcore.data.examples import Batch, Examples
from fedcore.metrics import Metrics


class _Family(ABC):
    """What users of all families write."""

    name: str
    labels: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ("loss",)

    @abstractmethod
    def build_model(self) -> nn.Module: ...

    @abstractmethod
    def load_data(self, path: Path | None) -> Examples | Dataset[Any]: ...


class Classification(_Family):
    """Classes from logits: columns ``inputs`` (n, …) and ``targets`` (n,) int64; model output (n, classes).

    A subclass sets `labels`, the names of the classes. With two, the second is the positive one.
    """

    metrics = ("loss", "accuracy")

    @final
    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Cross-entropy of every row, shape ``(n,)``."""
        return functional.cross_entropy(model(batch["inputs"]), batch["targets"], reduction="none")

    @final
    def predict(self, model: nn.Module, batch: Batch) -> Tensor:
        """Class probabilities, shape ``(n, classes)``."""
        return torch.softmax(model(batch["inputs"]), dim=1)

    @final
    def measure(self, model: nn.Module, batch: Batch) -> Metrics:
        logits = model(batch["inputs"])
        losses = functional.cross_entropy(logits, batch["targets"], reduction="none")
        return _sums(loss=losses, accuracy=logits.argmax(1) == batch["targets"])


class Regression(_Family):
    """A number for every row: columns ``inputs`` (n, …) and ``targets`` (n,); model output (n,) or (n, 1).

    A subclass may set `target_range`, the least and the greatest target that there can be, within which the audit
    counts; without it the plan has to (``audit.target-range``).
    """

    metrics = ("loss", "mean_absolute_error")
    target_range: tuple[float, float] | None = None

    @final
    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Squared error of every row, shape ``(n,)``."""
        return (self.predict(model, batch) - batch["targets"]).square()

    @final
    def predict(self, model: nn.Module, batch: Batch) -> Tensor:
        """Predicted values, shape ``(n,)``."""
        output: Tensor = model(batch["inputs"])
        return output.squeeze(1) if output.ndim == 2 else output

    @final
    def measure(self, model: nn.Module, batch: Batch) -> Metrics:
        """``loss`` (mean squared error) and ``mean_absolute_error``."""
        errors = self.predict(model, batch) - batch["targets"]
        return _sums(loss=errors.square(), mean_absolute_error=errors.abs())


class LanguageModelling(_Family):
    """The next token: columns ``inputs`` and ``targets`` (n, length) int64; model output (n, length, tokens).

    A row is a sequence, and its loss the mean over its own tokens.
    """

    metrics = ("loss", "next_token_accuracy")

    @final
    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Mean cross-entropy over the tokens of every row, shape ``(n,)``."""
        logits = self.predict(model, batch)
        return functional.cross_entropy(logits.transpose(1, 2), batch["targets"], reduction="none").mean(1)

    @final
    def predict(self, model: nn.Module, batch: Batch) -> Tensor:
        """Logits, shape ``(n, length, tokens)``."""
        logits: Tensor = model(batch["inputs"])
        return logits

    @final
    def measure(self, model: nn.Module, batch: Batch) -> Metrics:
        """``loss`` in nats per token and ``next_token_accuracy``."""
        logits = self.predict(model, batch)
        losses = functional.cross_entropy(logits.transpose(1, 2), batch["targets"], reduction="none").mean(1)
        hits = (logits.argmax(2) == batch["targets"]).cpu().double().mean(1)
        return _sums(loss=losses, next_token_accuracy=hits)


class Reconstruction(_Family):
    """Autoencoders: column ``inputs`` (n, …); model output of the same shape."""

    @final
    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Mean squared error over the elements of every row, shape ``(n,)``."""
        return (self.predict(model, batch) - batch["inputs"]).square().flatten(1).mean(1)

    @final
    def predict(self, model: nn.Module, batch: Batch) -> Tensor:
        output: Tensor = model(batch["inputs"])
        return output

    @final
    def measure(self, model: nn.Module, batch: Batch) -> Metrics:
        """``loss``: mean squared error."""
        return _sums(loss=self.loss(model, batch))


def _sums(**values: Tensor) -> Metrics:
    """Sum values of shape ``(n,)`` over rows, on the CPU: not every device has float64."""
    return Metrics(
        sums={name: float(value.cpu().double().sum()) for name, value in values.items()},
        counts={name: float(len(value)) for name, value in values.items()},
    )
