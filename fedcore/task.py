"""The contract of a task: a model, its data, a loss and a prediction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from fedcore.data.examples import Batch, Examples
from fedcore.errors import DataError, FedcoreError, TaskError
from fedcore.metrics import Metrics
from fedcore.task_families import Classification, LanguageModelling

if TYPE_CHECKING:
    from fedcore.plan import RunPlan


@runtime_checkable
class Task(Protocol):
    """A learning task. The same task serves a simulation, a federation server and a client.

    The ready-made families in ``fedcore.task_families`` supply `loss`, `predict`, `measure` and `labels`,
    so that most tasks write two methods. What a task may have besides is in `TaskExtras`.

    Attributes:
        name: Shown in results; letters, digits and hyphens.
        labels: Names of the classes, in the order of the targets' codes; empty when there are none.
    """

    name: str
    labels: tuple[str, ...]

    def build_model(self) -> nn.Module:
        """A new model, built on the CPU. Called under a seeded generator of the CPU, once in each process."""

    def load_data(self, path: Path | None) -> Examples | Dataset[Any]:
        """The data at `path`: in a deployment the client's own, in a simulation all of it at once."""

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The loss of every row by itself: shape ``(n,)``. A mean over the batch is not accepted."""

    def predict(self, model: nn.Module, batch: Batch) -> Tensor:
        """Class probabilities ``(n, classes)`` where there are labels, else the output of the model."""

    def measure(self, model: nn.Module, batch: Batch) -> Metrics:
        """Sums of the metrics over the rows of `batch`, ``loss`` among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskExtras:
    """What a task, or its class, may have besides; the defaults are those of a task without them.

    Attributes:
        metrics: Names that `measure` gives: a server rejects a report with any other. None accepts any name.
        target_range: The least and the greatest target, where targets are numbers; None where the plan declares them.
            A task with neither labels nor this attribute cannot be audited.
        preprocessing: How the privacy statement describes what was done to the rows.
        notes: Sentences about the data, for the results.
        makes_clients: Whether the data has as many clients as the plan says.
        from_plan: Makes the task from the whole plan instead of ``task.options``.
        settle: The plan with the content of the files that its options name, so that its hash and every client has it.
    """

    metrics: tuple[str, ...] | None = None
    target_range: tuple[float, float] | tuple[()] | None = ()
    preprocessing: str = "not covered: the task's own load_data"
    notes: tuple[str, ...] = ()
    makes_clients: bool = False
    from_plan: Callable[[RunPlan], Task] | None = None
    settle: Callable[[RunPlan], RunPlan] | None = None


def extras_of(task: Any) -> TaskExtras:
    """The optional parts of a task, or of its class."""
    names = [field.name for field in fields(TaskExtras) if hasattr(task, field.name)]
    return TaskExtras(**{name: getattr(task, name) for name in names})


def load_examples(task: Task, path: Path | None) -> Examples:
    """Call ``task.load_data`` and check the result.

    Raises:
        DataError: No rows, numbers that are not finite, codes outside a vocabulary, or a file that cannot be read.
        TaskError: `load_data` failed, or returned neither `Examples` nor a map-style dataset.
    """
    data = _loaded(task, path)
    if not isinstance(data, Examples):
        if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
            raise TaskError(
                f"load_data of task {task.name!r} must return fedcore.Examples or a map-style dataset; "
                f"found {type(data).__name__}"
            )
        data = Examples.from_dataset(data)
    if len(data) == 0:
        raise DataError(f"the data of task {task.name!r} has no rows")
    data.check_finite()
    # A subclass of Tensor could compute anything in the place of torch's operations.
    return Examples(
        columns={name: column.as_subclass(Tensor) for name, column in data.columns.items()}, attributes=data.attributes
    )


def check_task(task: Task, model: nn.Module, examples: Examples) -> None:
    """Run each part of a task once on a few rows, and report the part that breaks the contract.

    Raises:
        TaskError: Names the part, what was expected and what was found.
        DataError: A task with labels has fewer than two, or targets outside them.
    """
    rows = slice(0, min(4, len(examples)))
    batch = _as_in_training(examples.select(rows), model)
    size = len(next(iter(batch.values())))
    check_target_type(task, examples)
    if task.labels:
        check_target_codes(task, examples)
        _check_several(examples)
    model.eval()
    loss = _calling("loss", task.loss, model, batch)
    _check_loss(loss, size)
    if not loss.requires_grad:
        raise TaskError("loss must depend on the model's trainable parameters; found one without a gradient")
    with torch.no_grad():
        _check_prediction(task, _calling("predict", task.predict, model, batch), size)
        metrics = _calling("measure", task.measure, model, batch)
    if not isinstance(metrics, Metrics) or "loss" not in metrics.sums:
        raise TaskError("measure must return fedcore.metrics.Metrics that hold 'loss'")


def _check_loss(loss: Any, size: int) -> None:
    if isinstance(loss, Tensor) and loss.shape == (size,):
        return
    found = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
    raise TaskError(
        f"loss must return one value for each row, shape ({size},); found {found}. Use reduction='none': a mean, "
        "above all one weighted by class, lets a record's weight depend on the others in its batch"
    )


def _check_prediction(task: Task, prediction: Any, size: int) -> None:
    expected = f"({size}, {len(task.labels)})" if task.labels else f"({size}, …)"
    if not isinstance(prediction, Tensor) or len(prediction) != size:
        raise TaskError(f"predict must return a tensor of shape {expected}; found {_describe(prediction)}")
    if task.labels:
        if prediction.shape != (size, len(task.labels)):
            raise TaskError(f"predict must return shape {expected}; found {_describe(prediction)}")
        if not torch.allclose(prediction.sum(1), torch.ones_like(prediction[:, 0]), atol=1e-3):
            raise TaskError("predict must return probabilities that sum to one in every row; apply softmax")


def check_target_type(task: Task, examples: Examples) -> None:
    """Refuse targets of a type or shape that the task cannot take; the `TaskError` names the expected ones."""
    targets = examples.columns.get("targets")
    if targets is None:
        if task.labels:
            raise TaskError("a task with labels needs a column 'targets' in its Examples; found none")
        return
    if task.labels and targets.is_floating_point():
        raise TaskError(f"targets must be integers from 0 to {len(task.labels) - 1}, one for each label; use .long()")
    if isinstance(task, Classification | LanguageModelling) and targets.dtype not in (torch.int64, torch.uint8):
        raise TaskError(f"targets must be int64, and are {str(targets.dtype)[6:]}; use .long() in load_data")
    if isinstance(task, Classification) and targets.ndim != 1:
        raise TaskError(f"targets must have one code for each row, shape (n,); found {_describe(targets)}")


def check_target_codes(task: Task, examples: Examples) -> None:
    """Refuse targets outside the labels; the `DataError` gives the number of rows."""
    targets, labels = examples.columns["targets"], len(task.labels)
    if wrong := int(((targets < 0) | (targets >= labels)).sum()):
        raise DataError(
            f"targets must be integers from 0 to {labels - 1}, one for each label; found others in {wrong} of "
            f"{len(examples)} rows"
        )


def _check_several(examples: Examples) -> None:
    if len(torch.unique(examples.columns["targets"])) < 2:
        raise DataError("the targets hold one class only, so there is nothing to learn; expected at least two")


def _loaded(task: Task, path: Path | None) -> Any:
    """Call ``load_data``; for a missing file the error names the plan's key or the option."""
    try:
        return _calling("load_data", task.load_data, path)
    except TaskError as error:
        cause = error.__cause__
        if path is None and cause is not None:
            raise TaskError(f"{error}; it was given no path, for neither task.data nor --data names one") from cause
        if isinstance(cause, OSError) and cause.filename is not None:
            raise DataError(
                f"load_data cannot read {cause.filename}: {cause.strerror}; the path that it was given, from task.data "
                f"or --data, is {path}"
            ) from cause
        raise


def _calling(part: str, function: Any, *arguments: Any) -> Any:
    """Call a part of a task; a failure names the part and keeps the cause."""
    try:
        return function(*arguments)
    except FedcoreError:
        raise
    except Exception as error:
        given = "".join(_given(argument) for argument in arguments if isinstance(argument, Mapping))
        raise TaskError(f"{part} failed: {type(error).__name__}: {error}{given}") from error


def _as_in_training(examples: Examples, model: nn.Module) -> Batch:
    """Whole numbers unchanged, others in the type of the model."""
    dtype = next((each.dtype for each in model.parameters() if each.is_floating_point()), torch.get_default_dtype())
    return examples.to(dtype=dtype, device=torch.device("cpu")).batch(slice(None))


def _given(batch: Batch) -> str:
    columns = (f"{name} {str(each.dtype)[6:]} {tuple(each.shape)}" for name, each in batch.items())
    return f". It was given {', '.join(columns)}"


def _describe(value: Any) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
