"""A task's loss and prediction of a row, computed from that row alone.

The code of loss and model is run on a blank row only. Its operations are traced, and run on every row by itself
(``torch.func.vmap``): no code of the task's ever holds a row, so nothing that it does, keeps or counts can carry one
row to another.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fedcore.data.examples import Batch
from fedcore.errors import PrivacyError
from fedcore.plan import RunPlan
from fedcore.privacy.isolation import Isolation, Level
from fedcore.privacy.isolation_proof import part_problem, shape_problem
from fedcore.seeding import global_streams_kept
from fedcore.task import Task
from fedcore_clients.training.dp.ghost_rules import rules_of
from fedcore_clients.training.dp.row_program import NotTracedError, RowProgram, trace


@dataclass(frozen=True, slots=True, kw_only=True)
class _Programs:
    """Traced functions of one row in training; in evaluation too, on demand."""

    gradient: RowProgram
    loss: RowProgram | None = None
    predict: RowProgram | None = None

    @property
    def fingerprint(self) -> str:
        return "".join(each.fingerprint for each in (self.gradient, self.loss, self.predict) if each is not None)


class RowwiseTask:
    """Decides how rows are isolated, and computes them apart where they are.

    The decision depends on loss, model, the plan's wish and the shapes of the columns, never on values of rows or of
    weights, so that no server can steer it, and no row shows in it.

    Args:
        wanted: The plan's ``privacy.isolation``.
        evaluates: Whether predictions and losses in evaluation are to be computed apart too.
    """

    def __init__(self, task: Task, model: nn.Module, *, wanted: str = "auto", evaluates: bool = False) -> None:
        self._task, self._model = task, model
        self._whole = _Whole(task, model)
        self._wanted, self._evaluates = wanted, evaluates
        self._problem = part_problem(task, model)  # now, before anything is hooked into the model
        if not self._problem and rules_of(model) is None:
            self._problem = "a layer has no rule of fedcore's for gradients of records"
        self._known: dict[tuple[Any, ...], tuple[Isolation, _Programs | None]] = {}

    @classmethod
    def from_plan(cls, task: Task, model: nn.Module, plan: RunPlan) -> RowwiseTask:
        noised = plan.privacy.evaluation_noise_multiplier is not None
        return cls(task, model, wanted=plan.privacy.isolation, evaluates=noised)

    def isolation(self, batch: Batch) -> Isolation:
        """Isolation of rows of the shapes of those in `batch`; the first call of a shape decides."""
        return self._decided(batch)[0]

    def demand(self, batch: Batch) -> Isolation:
        """As `isolation`.

        Raises:
            PrivacyError: The plan asks for isolated records, and that is impossible.
        """
        found = self.isolation(batch)
        if self._wanted == "isolated" and found.level is Level.PROBED:
            raise PrivacyError(f'privacy.isolation = "isolated" is impossible for this task and model: {found.why}')
        return found

    def is_isolated(self, batch: Batch) -> bool:
        return self._decided(batch)[1] is not None

    def fingerprint(self, batch: Batch) -> str:
        """A digest of all traced functions and their constants; empty where there are none."""
        programs = self._decided(batch)[1]
        return "" if programs is None else programs.fingerprint

    def gradients(self, batch: Batch, factors: Tensor | None) -> list[Tensor]:
        """The gradients of the rows' losses, each from its row alone.

        Guarantee:
            Entry i is a function of row i, its factor, the weights and random numbers drawn for row i.

        Args:
            factors: Weight of each row's loss, shape ``(n,)``.

        Returns:
            Of shape ``(n, *parameter shape)`` for each trainable parameter.
        """
        found: list[Tensor] = self._run(self._programs(batch).gradient, batch, factors)
        return found

    def loss(self, batch: Batch) -> Tensor:
        """Every row's loss in evaluation, shape ``(n,)``; from the row alone where rows are isolated."""
        programs = self._in_evaluation(batch)
        if programs is None or programs.loss is None:
            return self._task.loss(self._model, batch)
        losses: Tensor = self._run(programs.loss, batch, None)
        return losses

    def predict(self, batch: Batch) -> Tensor:
        """The task's prediction for every row in evaluation; from the row alone where rows are isolated."""
        programs = self._in_evaluation(batch)
        if programs is None or programs.predict is None:
            return self._task.predict(self._model, batch)
        predicted: Tensor = self._run(programs.predict, batch, None)
        return predicted

    def _in_evaluation(self, batch: Batch) -> _Programs | None:
        """What was traced, where evaluation promises privacy; otherwise nothing is tried."""
        if not self._evaluates:
            return None
        self.demand(batch)
        return self._decided(batch)[1]

    def _run(self, program: RowProgram, batch: Batch, factors: Tensor | None) -> Any:
        trained, fixed = self._tensors()
        size = len(next(iter(batch.values())))
        if factors is None:
            factors = torch.ones(size, dtype=next(iter(trained.values())).dtype, device=self._device)
        return program(trained, fixed, dict(batch), factors)

    def _programs(self, batch: Batch) -> _Programs:
        programs = self._decided(batch)[1]
        if programs is None:
            raise PrivacyError("the rows of this task are not computed apart")
        return programs

    def _decided(self, batch: Batch) -> tuple[Isolation, _Programs | None]:
        shapes = tuple((name, column.shape[1:], column.dtype) for name, column in sorted(batch.items()))
        if shapes not in self._known:
            self._known[shapes] = self._decide(batch)
        return self._known[shapes]

    def _decide(self, batch: Batch) -> tuple[Isolation, _Programs | None]:
        dimensions = {name: column.ndim for name, column in batch.items()}
        why = self._problem or shape_problem(self._task, self._model, dimensions)
        if not why and self._wanted != "isolated":
            return Isolation(level=Level.PROVEN), None
        if self._wanted == "probed":
            return Isolation(level=Level.PROBED, why=why), None
        try:
            programs = self._traced({name: _blank(column) for name, column in batch.items()})
        except NotTracedError as error:
            return Isolation(level=Level.PROBED, why=f"{why or 'the plan asks for isolation'}; {error}"), None
        return Isolation(level=Level.ISOLATED, why=why or "the plan asks for it"), programs

    def _traced(self, row: dict[str, Tensor]) -> _Programs:
        arguments = (*self._tensors(), row)
        with self._mode(training=True):
            gradient = trace(self._gradient_of_row, *arguments)
        if not self._evaluates:
            return _Programs(gradient=gradient)
        with self._mode(training=False), torch.no_grad():
            loss, predict = (trace(part, *arguments) for part in (self._loss_of_row, self._prediction_of_row))
        return _Programs(gradient=gradient, loss=loss, predict=predict)

    @contextmanager
    def _mode(self, *, training: bool) -> Iterator[None]:
        before = {module: module.training for module in self._model.modules()}
        try:
            with global_streams_kept(self._device), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._model.train(training)
                yield
        finally:
            for module, was in before.items():
                module.training = was

    def _gradient_of_row(
        self, trained: dict[str, Tensor], fixed: dict[str, Tensor], row: dict[str, Tensor], factor: Tensor
    ) -> list[Tensor]:
        def loss(weights: dict[str, Tensor]) -> Tensor:
            return self._loss_of_row(weights, fixed, row, factor)

        return list(torch.func.grad(loss)(trained).values())

    def _loss_of_row(
        self, trained: dict[str, Tensor], fixed: dict[str, Tensor], row: dict[str, Tensor], factor: Tensor
    ) -> Tensor:
        losses: Tensor = torch.func.functional_call(self._whole, trained | fixed, ("loss", _batch_of_one(row)))
        return (losses * factor).reshape(())

    def _prediction_of_row(
        self, trained: dict[str, Tensor], fixed: dict[str, Tensor], row: dict[str, Tensor], factor: Tensor
    ) -> Tensor:
        predicted: Tensor = torch.func.functional_call(self._whole, trained | fixed, ("predict", _batch_of_one(row)))
        return predicted.squeeze(0)

    def _tensors(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Trainable parameters, in their order, and all other tensors of the model."""
        trained = {name: each.detach() for name, each in self._whole.named_parameters() if each.requires_grad}
        frozen = {name: each.detach() for name, each in self._whole.named_parameters() if not each.requires_grad}
        return trained, frozen | {name: each.detach() for name, each in self._whole.named_buffers()}

    @property
    def _device(self) -> torch.device:
        return next(self._model.parameters()).device


class _Whole(nn.Module):
    """Task and model as one module, so that parameters are replaced wherever the loss uses them."""

    def __init__(self, task: Task, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._parts = {"loss": task.loss, "predict": task.predict}  # a task that is a module is none of the model

    def forward(self, part: str, batch: Batch) -> Tensor:
        result = self._parts[part](self.model, batch)
        if len(result) != 1 or (part == "loss" and result.ndim != 1):
            raise NotTracedError(f"{part} has shape {tuple(result.shape)} for one row")
        return result


def _blank(column: Tensor) -> Tensor:
    return torch.zeros(column.shape[1:], dtype=column.dtype, device=column.device)


def _batch_of_one(row: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: column.unsqueeze(0) for name, column in row.items()}
