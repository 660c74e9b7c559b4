"""Rules about the task on rows: whether they stay apart, and whether held-out rows were trained on."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from fedcore.data.examples import Examples
from fedcore.errors import PrivacyError
from fedcore.privacy.isolation import Level
from fedcore.privacy.linter.alike import AlikeForEveryRow, finite_or_zero
from fedcore.privacy.linter.finding import Rule, Subject
from fedcore.task import Task

_TOLERANCE = 1e-9


def _remembers(subject: Subject) -> Iterator[str]:
    """Compare a record's gradient before and after the model has seen others."""
    if subject.task is None or subject.model is None or subject.training is None or len(subject.training) < 2:
        return
    model = copy.deepcopy(subject.model).to(device="cpu", dtype=torch.float64).train()
    rows = subject.training.select(torch.arange(min(64, len(subject.training))))
    rows = rows.to(dtype=torch.float64, device=torch.device("cpu"))
    try:
        before = _gradient(subject.task, model, rows, slice(0, 1))
        _gradient(subject.task, model, rows, slice(1, None))
        after = _gradient(subject.task, model, rows, slice(0, 1))
    except Exception:  # of the task's own code, as for batch normalisation of one row: the probe says what
        return
    if not float((after - before).abs().max()) <= _TOLERANCE * max(float(before.abs().max()), 1e-12):
        yield "the first row's gradient is another after other rows were seen"


def _gradient(task: Task, model: nn.Module, rows: Examples, chosen: slice) -> Tensor:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    batch = rows.batch(chosen)
    with AlikeForEveryRow(len(next(iter(batch.values())))):
        loss = task.loss(model, batch).sum()
    found = torch.autograd.grad(loss, trained, allow_unused=True, materialize_grads=True)
    return finite_or_zero(torch.cat([gradient.flatten() for gradient in found])[None])


def _isolation(subject: Subject) -> Iterator[str]:
    if subject.probe is None:
        return
    try:
        subject.probe()
    except PrivacyError as error:
        yield f"measured: {error}"


def _by_evidence(subject: Subject) -> Iterator[str]:
    if subject.isolation is not None and subject.isolation.level is Level.PROBED:
        yield subject.isolation.why


def _trained_rows(subject: Subject) -> Iterator[str]:
    """Compare rows by their hashes, which need less memory than the rows."""
    if subject.training is None or subject.held_out is None:
        return
    if subject.plan.privacy.evaluation_noise_multiplier is not None:
        return
    seen = set(map(hash, subject.training.rows_as_bytes()))
    if any(hash(row) in seen for row in subject.held_out.rows_as_bytes()):
        yield "some held-out rows are equal to rows that are trained on"


ROW_RULES = (
    Rule(
        id="remembers-rows",
        severity="refuse",
        why="the model or the loss keeps something of the rows that it has seen, outside of clipping and noise",
        fix="let forward and loss only read",
        find=_remembers,
    ),
    Rule(
        id="record-isolation",
        severity="refuse",
        why="clipping bounds what a record does only where its gradient is its own",
        fix="let the loss of a row look at that row alone, and use layers without batch statistics",
        find=_isolation,
    ),
    Rule(
        id="probed-isolation",
        severity="warn",
        why="that no record affects another's gradient was measured before training, and is neither proven nor "
        "enforced",
        fix="write loss and model so that torch.func.vmap runs them on one row, or take a family's loss and known "
        "layers; see docs/privacy.md",
        find=_by_evidence,
    ),
    Rule(
        id="trained-rows-evaluated",
        severity="warn",
        of_rows=True,
        why="evaluation is exact, so that on rows that are also trained on it reveals what the noise should hide",
        fix="drop duplicate rows before the run",
        find=_trained_rows,
    ),
)
