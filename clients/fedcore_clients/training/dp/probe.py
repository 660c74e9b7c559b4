"""Measures on the actual model whether record-level clipping bounds each record's contribution."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from fedcore.data.examples import Batch, Examples
from fedcore.errors import FedcoreError, PrivacyError
from fedcore.plan import RunPlan
from fedcore.privacy.isolation import Isolation, Level
from fedcore.privacy.linter import lint_model
from fedcore.privacy.linter.alike import AlikeForEveryRow, finite_or_zero
from fedcore.task import Task
from fedcore_clients.training.dp.per_example import PerExampleGradients
from fedcore_clients.training.dp.rowwise import RowwiseTask

_TOLERANCE = 1e-8
_COMPARED = 5
_LARGEST_BATCH = 256
_MOST_GRADIENT_NUMBERS = 20_000_000
_PERTURBATIONS = (0.0, 0.1, 0.5)


class CannotProbeError(PrivacyError):
    """These rows allow no measurement, which says nothing against the task."""


def isolation_of(task: Task, model: nn.Module, examples: Examples, plan: RunPlan, device: torch.device) -> Isolation:
    """How records are isolated in a run on `device`; no code of the task's is given a row for it.

    Raises:
        PrivacyError: The plan asks for isolated records, and that is impossible.
    """
    dtype: torch.dtype = getattr(torch, plan.training.precision)
    row = examples.select(torch.zeros(1, dtype=torch.int64)).to(dtype=dtype, device=device)
    subject = copy.deepcopy(model).to(dtype=dtype, device=device)
    return RowwiseTask.from_plan(task, subject, plan).demand(row.batch(slice(None)))


def probe_isolation(task: Task, model: nn.Module, examples: Examples, plan: RunPlan | None = None) -> Isolation:
    """Refuse a model or loss whose per-record gradients are not those of the record alone.

    In float64, the gradients and norms that training would clip and sum for records of a batch are compared with
    autograd's for each record in a batch of its own. They agree to about 1e-15 where records are isolated and the
    layers' gradient rules are right; batch normalisation, losses weighted over the batch and layers without a right
    rule differ by 1e-2 and more. Batches have 2, 5 and up to 256 rows, since coupling may begin with the size, and
    weights are perturbed too, since a gate that starts at zero hides what is behind it. A training pass that changes
    any parameter or buffer is refused. What a record draws at random is the same in every pass. Where evaluation is
    noised, losses and predictions of evaluation are compared too.

    Records that are isolated by construction are checked too: a loss that means to compare rows would be computed from
    single rows, which is private and not what its author meant.

    A probe is evidence and no proof: it sees the rows, sizes and weights that it tries.

    Args:
        plan: How records are to be isolated; a plan's defaults when absent.

    Raises:
        PrivacyError: Says what was found; a `CannotProbeError` where nothing can be.
    """
    lint_model(model)
    subject = copy.deepcopy(model).to(device="cpu", dtype=torch.float64).train()
    plain = copy.deepcopy(subject)
    trained = [parameter for parameter in subject.parameters() if parameter.requires_grad]
    plan = plan or RunPlan()
    two = _varied_rows(examples, 2).batch(slice(None))
    rowwise = RowwiseTask.from_plan(task, subject, plan)
    found, traced = rowwise.demand(two), rowwise.fingerprint(two)  # before the task's code is given a row
    per_example = PerExampleGradients(task, subject, max_physical_batch=_LARGEST_BATCH, rowwise=rowwise)
    noised = plan.privacy.evaluation_noise_multiplier is not None
    generator = torch.Generator().manual_seed(0)
    for spread in _PERTURBATIONS:
        with torch.no_grad():
            for parameter in trained:
                parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64), alpha=spread)
        plain.load_state_dict(subject.state_dict())
        for size in _batch_sizes(sum(parameter.numel() for parameter in trained)):
            rows = _varied_rows(examples, size)
            _compare(task, (subject, plain), per_example, rows, perturbed=spread > 0)
            if found.level is Level.ISOLATED:
                _compare_values(task, plain, rows, training=True)
            if noised:
                _compare_values(task, plain, rows, training=False)
    _look_again(task, plain, two, plan, traced)
    return found


def _compare(
    task: Task,
    models: tuple[nn.Module, nn.Module],
    per_example: PerExampleGradients,
    rows: Examples,
    *,
    perturbed: bool,
) -> None:
    """Compare at one batch; `models` are the one with hooks and a plain copy."""
    model, plain = models
    before = [tensor.clone() for tensor in (*model.parameters(), *model.buffers())]
    together, alone = _tried(lambda: _gradients(task, plain, per_example, rows))
    if any(not torch.equal(old, new) for old, new in zip(before, (*model.parameters(), *model.buffers()), strict=True)):
        raise PrivacyError(
            "the model's forward pass changes its own parameters or buffers; what it keeps of the rows would be "
            "released without noise. Let the forward pass only read"
        )
    if perturbed and float(alone.abs().max()) == 0.0:
        raise CannotProbeError("the loss has no gradient, so the influence of records on it cannot be measured")
    _agree(together, alone, len(rows))


def _compare_values(task: Task, model: nn.Module, rows: Examples, *, training: bool) -> None:
    """Compare losses, and in evaluation predictions, of some records in a batch with those of each alone."""

    def made(batch: Batch) -> Tensor:
        with AlikeForEveryRow(len(next(iter(batch.values())))), torch.no_grad():
            losses = task.loss(model, batch)[:, None]
            return losses if training else torch.cat([losses, task.predict(model, batch).reshape(len(losses), -1)], 1)

    def both() -> tuple[Tensor, Tensor]:
        alone = [made(rows.batch(slice(row, row + 1))) for row in chosen]
        return made(rows.batch(slice(None)))[chosen], torch.cat(alone)

    chosen = _chosen(rows)
    model.train(training)
    _agree(*_tried(both), len(rows))
    model.train()


def _look_again(task: Task, plain: nn.Module, batch: Batch, plan: RunPlan, before: str) -> None:
    """Refuse a loss that changes once it has seen rows."""
    if RowwiseTask.from_plan(task, plain, plan).fingerprint(batch) != before:
        raise PrivacyError("loss or model change once they have seen rows; they must keep nothing of a call")


def _tried(both: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    try:
        return both()
    except FedcoreError:
        raise
    except Exception as error:
        if "randomness error mode" in str(error):  # Opacus' rule for layers that it has no rule for
            raise PrivacyError(
                "a module with parameters of its own draws random numbers, for which there is no rule: put the "
                "parameters into layers such as nn.Linear or nn.Embedding, or write loss and model so that they can be "
                "isolated, without item() and if"
            ) from error
        raise CannotProbeError(
            f"per-record gradients of this model cannot be computed ({type(error).__name__}: {error}); "
            "use layers that fedcore or Opacus has a rule for"
        ) from error


def _agree(together: Tensor, alone: Tensor, size: int) -> None:
    """Refuse where a record's values in a batch differ from its values alone.

    A record with values that are not finite counts as zero, in training too; both must then not be finite.
    """
    together, alone = finite_or_zero(together), finite_or_zero(alone)
    scale = max(float(alone.abs().max()), 1e-12)
    difference = float((together - alone).abs().max())
    if not difference <= _TOLERANCE * scale:
        raise PrivacyError(
            "a record's gradient depends on the other records of its batch, or its layer has no right rule for "
            f"per-record gradients (relative difference {difference / scale:.1e} in a batch of {size}); clipping would "
            "bound nothing. Let the loss of a row look at that row alone (no class weights divided by the batch's "
            "weights, no ignore_index with a mean); use layers without batch statistics"
        )


def _batch_sizes(num_parameters: int) -> list[int]:
    """From two rows to as many as memory allows per-record gradients of."""
    largest = min(_LARGEST_BATCH, max(8, _MOST_GRADIENT_NUMBERS // num_parameters))
    return [2, 5, largest]


def _gradients(task: Task, model: nn.Module, per_example: PerExampleGradients, rows: Examples) -> tuple[Tensor, Tensor]:
    """Gradients of some rows and their norms, from the whole batch and from batches of one.

    Both of shape ``(compared, parameters + 1)``. The former are computed exactly as in training.
    """
    chosen = _chosen(rows)
    with AlikeForEveryRow(len(rows)):
        together, squared_norms = per_example.contributions(rows.batch(slice(None)), chosen)
    # The norm is one more number to compare: it decides how much of the gradient counts.
    by_itself = torch.stack([_alone(task, model, rows, row) for row in chosen])
    norms = by_itself.norm(dim=1, keepdim=True)
    return torch.cat([together, squared_norms.sqrt()[:, None]], 1), torch.cat([by_itself, norms], 1)


def _alone(task: Task, model: nn.Module, rows: Examples, row: int) -> Tensor:
    """A record's gradient in a batch of its own, flat."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with AlikeForEveryRow(1):
        loss = task.loss(model, rows.batch(slice(row, row + 1))).sum()
    found = torch.autograd.grad(loss, trained, allow_unused=True, materialize_grads=True)
    return torch.cat([gradient.flatten() for gradient in found])


def _chosen(rows: Examples) -> list[int]:
    return torch.linspace(0, len(rows) - 1, min(_COMPARED, len(rows))).round().long().tolist()


def _varied_rows(examples: Examples, size: int) -> Examples:
    """Rows spread over the data, so that their classes differ; repeated where there are too few."""
    targets = examples.columns.get("targets")
    order = torch.arange(len(examples))
    if targets is not None and targets.ndim == 1:
        order = torch.argsort(targets, stable=True)
    picked = order[torch.linspace(0, len(order) - 1, size).round().long()]
    return examples.select(picked).to(dtype=torch.float64, device=torch.device("cpu"))
