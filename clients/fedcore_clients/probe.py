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
_RECORDS = 5


def probe_isolation(task: Task, model: nn.Module, examples: Examples) -> None:
    """Refuse a model or loss whose per-record gradients are not those of the record alone.

    In float64, the gradients that Opacus' hooks give for each record of a small batch are compared with
    autograd's for that record in a batch of its own. They agree to about 1e-15 where records are isolated
    and the layers' gradient rules are right; batch normalisation, losses weighted over the batch and layers
    that Opacus does not understand differ by 1e-2 and more. Dropout is switched off for the comparison.

    Raises:
        PrivacyError: Says by how much they differ.
    """
    lint_model(model)
    subject = copy.deepcopy(model).to(device="cpu", dtype=torch.float64).train()
    for module in subject.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.eval()
    rows = _varied_rows(examples)
    try:
        together, alone = _gradients(task, subject, rows)
    except FedcoreError:
        raise
    except Exception as error:
        raise PrivacyError(
            f"per-record gradients of this model cannot be computed ({type(error).__name__}: {error}); "
            "use layers that Opacus supports"
        ) from error
    scale = float(alone.abs().max())
    difference = float((together - alone).abs().max())
    if not difference <= _TOLERANCE * max(scale, 1e-12):
        raise PrivacyError(
            "a record's gradient depends on the other records of its batch, or its layer has no right rule for "
            f"per-record gradients (relative difference {difference / max(scale, 1e-12):.1e}); clipping would bound "
            "nothing. Let the loss of a row look at that row only (no class weights divided by the batch's weights, "
            "no ignore_index with a mean) and use layers without batch statistics"
        )


def _gradients(task: Task, model: nn.Module, rows: Examples) -> tuple[Tensor, Tensor]:
    """Per-record gradients from one batch, and from batches of one; shape ``(n, parameters)`` each."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    alone = []
    for row in range(len(rows)):
        loss = task.loss(model, rows.batch(slice(row, row + 1))).sum()
        gradients = torch.autograd.grad(loss, trained, allow_unused=True, materialize_grads=True)
        alone.append(torch.cat([gradient.flatten() for gradient in gradients]))
    per_example = PerExampleGradients(task, model, max_physical_batch=len(rows))
    together = per_example.gradients(rows.batch(slice(None)))
    return torch.cat([gradient.flatten(1) for gradient in together], dim=1), torch.stack(alone)


def _varied_rows(examples: Examples) -> Examples:
    """A few rows spread over the data, so that they differ in class."""
    targets = examples.columns.get("targets")
    order = torch.arange(len(examples))
    if targets is not None and targets.ndim == 1:
        order = torch.argsort(targets, stable=True)
    picked = order[torch.linspace(0, len(order) - 1, min(_RECORDS, len(order))).round().long()]
    return examples.select(picked).to(dtype=torch.float64, device=torch.device("cpu"))
