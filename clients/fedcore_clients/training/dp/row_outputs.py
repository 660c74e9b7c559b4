"""A task's outputs for rows, as total functions: no row can make them fail, or affect more than its own part.

A server chooses the weights. If a row could make a loss or a prediction fail, which clients answer would show the
server about that row, whatever noise the answers have.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from fedcore.data.examples import Batch, Examples
from fedcore.metrics import Metrics
from fedcore.task import Task, extras_of
from fedcore_clients.training.device import is_of_the_device
from fedcore_clients.training.dp.made_up_rows import made_up_rows

_LARGEST = 1e30
"""A row's metric beyond it does not count, so that sums over rows stay finite."""

_T = TypeVar("_T", Tensor, Metrics)


def row_losses(loss: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
    """float64 on the CPU, shape ``(n,)``; NaN where the task gives no finite number."""
    return _row_values(loss, batch, shape=())


def row_predictions(predict: Callable[[Batch], Tensor], batch: Batch, labels: Sequence[str]) -> Tensor:
    """float64 on the CPU, shape ``(n, classes)``, or ``(n,)`` without labels; NaN where the task gives none."""
    return _row_values(predict, batch, shape=(len(labels),) if labels else ())


def row_metrics(task: Task, model: nn.Module, batch: Batch, *, loss_bound: float) -> Metrics:
    """The task's own metrics, summed over the rows.

    A row for which they fail or are not finite counts as one row with the loss `loss_bound`, and with 0 in every other
    metric. The task declares its metrics, or made-up rows show them.
    """
    names = set(extras_of(task).metrics or ()) or _names_measured(task, model, batch)
    broken = Metrics(
        sums={name: loss_bound if name == "loss" else 0.0 for name in names}, counts=dict.fromkeys(names, 1.0)
    )

    def measured(part: Batch) -> Metrics:
        return _checked_metrics(task.measure(model, part), num_rows(part), names)

    return _in_parts(measured, batch, lambda one, other: one + other, broken)


def num_rows(batch: Batch) -> int:
    return len(next(iter(batch.values())))


def halves(batch: Batch) -> tuple[Batch, Batch]:
    middle = num_rows(batch) // 2
    return {name: column[:middle] for name, column in batch.items()}, {
        name: column[middle:] for name, column in batch.items()
    }


def raise_unless_of_the_row(error: Exception, row: Batch, work: Callable[[Batch], object]) -> None:
    """Raise a failure of the device. A row that alone asks for too much memory has failed as any other.

    Args:
        row: A batch of one.
        work: Is tried on a blank row of the same shapes: without memory for that either, no row is to blame.

    Raises:
        Exception: The failure.
    """
    if not is_of_the_device(error):
        return
    try:
        work({name: torch.zeros_like(column) for name, column in row.items()})
    except Exception as again:
        if is_of_the_device(again):
            raise error from again


def _row_values(compute: Callable[[Batch], Tensor], batch: Batch, *, shape: tuple[int, ...]) -> Tensor:
    def checked(part: Batch) -> Tensor:
        values = compute(part)
        expected = (num_rows(part), *shape)
        if tuple(values.shape) not in (expected, (*expected, 1)):
            raise ValueError(f"expected shape {expected}, found {tuple(values.shape)}")
        return values.detach().cpu().to(torch.float64).reshape(expected)

    broken = torch.full((1, *shape), torch.nan, dtype=torch.float64)
    return _in_parts(checked, batch, lambda one, other: torch.cat([one, other]), broken)


def _in_parts(compute: Callable[[Batch], _T], batch: Batch, join: Callable[[_T, _T], _T], broken: _T) -> _T:
    """Compute for a batch; where that fails, for its halves, down to single rows, which count as `broken`."""
    try:
        return compute(batch)
    except Exception as error:
        if num_rows(batch) <= 1:
            raise_unless_of_the_row(error, batch, compute)
            return broken
        if is_of_the_device(error) and not isinstance(error, MemoryError):
            raise  # to be tried again with fewer rows at once
    return join(*(_in_parts(compute, half, join, broken) for half in halves(batch)))


def _names_measured(task: Task, model: nn.Module, like: Batch) -> set[str]:
    """Metric names of a task that declares none; from made-up rows, so that no row decides."""
    rows = made_up_rows(Examples(columns=like), len(task.labels)).columns
    there = {name: column.to(like[name].device) for name, column in rows.items()}
    try:
        return {"loss", *task.measure(model, there).sums}
    except Exception as error:
        if is_of_the_device(error):
            raise
        return {"loss"}


def _checked_metrics(metrics: Metrics, rows: int, names: Collection[str]) -> Metrics:
    """Metrics whose names no row can choose and whose sums are bounded."""
    if set(metrics.sums) != set(names):
        raise ValueError("expected the metrics that the task declares, or gave of made-up rows")
    if set(metrics.sums) != set(metrics.counts):
        raise ValueError("each metric needs a sum and a count")
    numbers = [*metrics.sums.values(), *metrics.counts.values()]
    if not all(abs(number) <= _LARGEST * rows for number in numbers):  # false for NaN too
        raise ValueError("a metric is not finite")
    return metrics
