"""A task with canaries: made-up records that affect only weights of their own."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from fedcore.data.examples import Batch, Examples
from fedcore.metrics import Metrics
from fedcore.task import Task

_CANARY, _GAIN, _WEIGHT = "fedcore canary", "fedcore canary gain", "fedcore canary weight"


class CanaryModel(nn.Module):
    """The task's model, and one more weight for each canary.

    Args:
        num_canaries: Weights in the head; one more, the first, belongs to ordinary records and stays unchanged.
    """

    def __init__(self, subject: nn.Module, num_canaries: int) -> None:
        super().__init__()
        self.subject = subject
        self.head = nn.Embedding(num_canaries + 1, 1)
        nn.init.zeros_(self.head.weight)


class CanaryTask:
    """The task with a canary head: a canary's gradient is its own coordinate of the head, and zero elsewhere.

    Ordinary records train the task's own model as usual. So each of the head's coordinates in the released vector shows
    whether one canary was there, through the same sampler, clipping and noise as other records.
    """

    def __init__(self, task: Task, num_canaries: int) -> None:
        self._task, self._num_canaries = task, num_canaries
        self.name, self.labels = task.name, task.labels

    def build_model(self) -> nn.Module:
        return CanaryModel(self._task.build_model(), self._num_canaries)

    def load_data(self, path: Path | None) -> Examples:
        """Nothing is loaded: `with_canaries` gets the rows."""
        raise NotImplementedError

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The task's loss for its own records, for a canary its weight in the head times a gain."""
        if not isinstance(model, CanaryModel):
            raise TypeError("expected the model of this task")
        head: Tensor = model.head(batch[_CANARY])
        return self._task.loss(model.subject, _own(batch)) * batch[_WEIGHT] + head.squeeze(-1) * batch[_GAIN]

    def predict(self, model: nn.Module, batch: Batch) -> Tensor:
        """The task's own; an audit only trains, but a plan with noisy evaluations has it traced."""
        if not isinstance(model, CanaryModel):
            raise TypeError("expected the model of this task")
        return self._task.predict(model.subject, _own(batch))

    def measure(self, model: nn.Module, batch: Batch) -> Metrics:
        raise NotImplementedError


def _own(batch: Batch) -> Batch:
    return {name: column for name, column in batch.items() if name not in (_CANARY, _GAIN, _WEIGHT)}


def with_canaries(examples: Examples, coins: Tensor, *, gain: float) -> Examples:
    """Ordinary rows, and one row for each canary; a canary whose coin is false is blank.

    Both kinds of data sets have the same number of rows, and differ by blanked records: the zero-out relation.

    Args:
        coins: Boolean, shape ``(canaries,)``.
        gain: Length of a canary's gradient; far above the clip norm, so that it is clipped to it.
    """
    rows = len(examples)
    source = torch.cat([torch.arange(rows), torch.zeros(len(coins), dtype=torch.int64)])
    canary = torch.cat([torch.zeros(rows, dtype=torch.int64), torch.arange(1, len(coins) + 1)])
    lift = torch.cat([torch.zeros(rows), gain * coins.to(torch.float32)])
    weight = torch.cat([torch.ones(rows), torch.zeros(len(coins))])
    return Examples(columns={**examples.batch(source), _CANARY: canary, _GAIN: lift, _WEIGHT: weight})


def blank(examples: Examples) -> Examples:
    """The same rows with zero weights: training on them releases only the noise."""
    return loudest(examples, 0, gain=0.0)


def loudest(examples: Examples, row: int, *, gain: float) -> Examples:
    """The same rows, of which only one has a weight: its gradient is in every layer, and far too long."""
    rows = len(examples)
    weight = torch.zeros(rows)
    weight[row] = gain
    return Examples(
        columns={
            **examples.columns,
            _CANARY: torch.zeros(rows, dtype=torch.int64),
            _GAIN: torch.zeros(rows),
            _WEIGHT: weight,
        }
    )
