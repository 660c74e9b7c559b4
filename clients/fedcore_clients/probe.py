"""Measures on the actual model whether record-level clipping bounds what it must bound."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from fedcore.errors import FedcoreError, PrivacyError
from fedcore.examples import Examples
from fedcore.privacy.linter import lint_model
from fedcore.task import Task
from fedcore_clients.per_example import PerExampleGradients

_TOLERANCE = 1e-8
_COMPARED = 5
_LARGEST_BATCH = 256
_MOST_GRADIENT_NUMBERS = 20_000_000
_PERTURBATIONS = (0.0, 0.1, 0.5)


def probe_isolation(task: Task, model: nn.Module, examples: Examples) -> None:
    """Refuse a model or loss whose per-record gradients are not those of the record alone.

    In float64, the gradients and norms that training would clip and sum for records of a batch are compared
    with autograd's for each record in a batch of its own. They agree to about 1e-15 where records are isolated
    and the layers' gradient rules are right; batch normalisation, losses weighted over the batch and layers
    without a right rule differ by 1e-2 and more. It is done at batches of 2, 5 and up to 256 rows, since
    coupling may begin with the size, and at perturbed weights too, since a gate that starts at zero hides what
    is behind it. A training pass that changes any parameter or buffer is refused. Dropout is switched off.

    A probe is evidence and no proof: it sees the rows, sizes and weights that it tries.

    Raises:
        PrivacyError: Says what was found.
    """
    lint_model(model)
    subject = copy.deepcopy(model).to(device="cpu", dtype=torch.float64).train()
    for module in subject.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.eval()
    plain = copy.deepcopy(subject)
    trained = [parameter for parameter in subject.parameters() if parameter.requires_grad]
    per_example = PerExampleGradients(task, subject, max_physical_batch=_LARGEST_BATCH)
    generator = torch.Generator().manual_seed(0)
    for spread in _PERTURBATIONS:
        with torch.no_grad():
            for parameter in trained:
                parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64), alpha=spread)
        plain.load_state_dict(subject.state_dict())
        for size in _batch_sizes(sum(parameter.numel() for parameter in trained)):
            _compare(task, (subject, plain), per_example, _varied_rows(examples, size), perturbed=spread > 0)


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
    try:
        together, alone = _gradients(task, plain, per_example, rows)
    except FedcoreError:
        raise
    except Exception as error:
        raise PrivacyError(
            f"per-record gradients of this model cannot be computed ({type(error).__name__}: {error}); "
            "use layers that fedcore or Opacus has a rule for"
        ) from error
    if any(not torch.equal(old, new) for old, new in zip(before, (*model.parameters(), *model.buffers()), strict=True)):
        raise PrivacyError(
            "the model's forward pass changes its own parameters or buffers; what it keeps of the rows would be "
            "released without noise. Let the forward pass only read"
        )
    scale = float(alone.abs().max())
    if perturbed and scale == 0.0:
        raise PrivacyError("the loss has no gradient, so nothing can be said about how records bear on it")
    difference = float((together - alone).abs().max())
    if not difference <= _TOLERANCE * max(scale, 1e-12):
        raise PrivacyError(
            "a record's gradient depends on the other records of its batch, or its layer has no right rule for "
            f"per-record gradients (relative difference {difference / max(scale, 1e-12):.1e} in a batch of "
            f"{len(rows)}); clipping would bound nothing. Let the loss of a row look at that row alone (no class "
            "weights divided by the batch's weights, no ignore_index with a mean); use layers without batch statistics"
        )


def _batch_sizes(num_parameters: int) -> list[int]:
    """From two rows to as many as memory allows per-record gradients of."""
    largest = min(_LARGEST_BATCH, max(8, _MOST_GRADIENT_NUMBERS // num_parameters))
    return [2, 5, largest]


def _gradients(task: Task, model: nn.Module, per_example: PerExampleGradients, rows: Examples) -> tuple[Tensor, Tensor]:
    """Gradients of some rows and their norms, from the whole batch and from batches of one.

    Both of shape ``(compared, parameters + 1)``. The former come by the very way that training takes.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    compared = torch.linspace(0, len(rows) - 1, min(_COMPARED, len(rows))).round().long().tolist()
    together, squared_norms = per_example.contributions(rows.batch(slice(None)), compared)
    alone = []
    for row in compared:
        loss = task.loss(model, rows.batch(slice(row, row + 1))).sum()
        gradients = torch.autograd.grad(loss, trained, allow_unused=True, materialize_grads=True)
        alone.append(torch.cat([gradient.flatten() for gradient in gradients]))
    # The norm is one more number to compare: it decides how much of the gradient counts.
    by_itself = torch.stack(alone)
    norms = by_itself.norm(dim=1, keepdim=True)
    return torch.cat([together, squared_norms.sqrt()[:, None]], 1), torch.cat([by_itself, norms], 1)


def _varied_rows(examples: Examples, size: int) -> Examples:
    """Rows spread over the data, so that they differ in class; repeated where there are too few."""
    targets = examples.columns.get("targets")
    order = torch.arange(len(examples))
    if targets is not None and targets.ndim == 1:
        order = torch.argsort(targets, stable=True)
    picked = order[torch.linspace(0, len(order) - 1, size).round().long()]
    return examples.select(picked).to(dtype=torch.float64, device=torch.device("cpu"))
