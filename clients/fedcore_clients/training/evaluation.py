"""Local evaluation: sums and group counts over held-out rows, never a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedcore.audit.tables.declared import attribute_codes, empty_tables
from fedcore.audit.tables.groups import GroupTable
from fedcore.audit.tables.values import AuditTable, ValueTable
from fedcore.data.examples import Batch, Examples
from fedcore.messages import ClientReport, EvaluateRequest
from fedcore.metrics import Metrics
from fedcore.privacy.evaluation import evaluation_privacy
from fedcore_clients.training.device import device_errors
from fedcore_clients.training.dp.row_outputs import row_losses, row_metrics, row_predictions
from fedcore_clients.training.local_model import Client, LocalModel
from fedcore_clients.training.train import client_randomness, seed_stream

_Result = TypeVar("_Result")


def evaluate_locally(local: LocalModel, client: Client, request: EvaluateRequest) -> ClientReport:
    """Evaluate the received model on a client's held-out rows.

    Guarantee:
        Where the plan asks for noise, that of `EvaluationPrivacy`; the report holds nothing else that depends on rows.
        Under record-level privacy no row makes the evaluation fail, whatever the weights: a prediction, loss or metric
        that is not finite, or cannot be computed, has a fixed and bounded part in the report.
    """
    local.load(request.parameters)
    local.model.eval()
    tables, rows = empty_tables(local.task, local.plan), client.held_out
    if local.privacy is not None and rows is not None:
        local.rowwise.demand(rows.batch(slice(0, 1)))  # decided before the task's code is given a row
    privacy = evaluation_privacy(local.task, local.plan)
    stream = ("evaluate", request.round, request.attempt, client.name)
    if privacy is not None:
        seed_stream(local, *stream)
    with torch.no_grad(), device_errors(local.device, advice="use another device"):
        if rows is not None and tables:
            tables = _fill(tables, local, rows)
        if privacy is None:
            metrics = _measured(local, rows) if local.privacy is None else _bounded(local, rows)
        else:
            randomness = client_randomness(local, *stream)
            metrics = privacy.noisy_metrics(*_losses_and_hits(local, rows), randomness)
            tables = {name: privacy.noisy_table(table, randomness) for name, table in _of_labels(tables).items()}
    return ClientReport(client=client.name, round=request.round, metrics=metrics, tables=tables)


def _measured(local: LocalModel, rows: Examples | None) -> Metrics:
    return sum(_for_batches(local, rows, lambda batch: local.task.measure(local.model, batch)), start=Metrics())


def _bounded(local: LocalModel, rows: Examples | None) -> Metrics:
    """The task's own metrics, where every row counts, and none for more than its bound."""
    bound = local.plan.privacy.evaluation_loss_bound
    parts = _for_batches(local, rows, lambda batch: row_metrics(local.task, local.model, batch, loss_bound=bound))
    return sum(parts, start=Metrics())


def _losses_and_hits(local: LocalModel, rows: Examples | None) -> tuple[NDArray[np.float64], int | None]:
    """Every row's loss, and the number of correct predictions where there are labels."""

    def both(batch: Batch) -> tuple[NDArray[np.float64], int]:
        losses = row_losses(local.rowwise.loss, batch).numpy()
        if not local.task.labels:
            return losses, 0
        predicted = row_predictions(local.rowwise.predict, batch, local.task.labels)
        right = predicted.argmax(1) == batch["targets"].cpu()
        return losses, int((right & predicted.isfinite().all(1)).sum())

    found = _for_batches(local, rows, both)
    hits = sum(hits for _, hits in found)
    return np.concatenate([np.empty(0), *(losses for losses, _ in found)]), hits if local.task.labels else None


def _for_batches(local: LocalModel, rows: Examples | None, work: Callable[[Batch], _Result]) -> list[_Result]:
    """Result of `work` for each batch of rows; batches are smaller once the device ran out of memory."""

    def worked(rows_at_once: int) -> list[_Result]:
        starts = range(0, len(rows or ()), rows_at_once)
        return [work(rows.batch(slice(start, start + rows_at_once))) for start in starts if rows is not None]

    return local.evaluated_at_once.run(len(rows or ()), worked)


def _of_labels(tables: dict[str, AuditTable]) -> dict[str, GroupTable]:
    """Tables that noise can be added to; a plan that asks for it on others is refused before."""
    return {name: table for name, table in tables.items() if isinstance(table, GroupTable)}


def _fill(tables: dict[str, AuditTable], local: LocalModel, rows: Examples) -> dict[str, AuditTable]:
    predicted = torch.cat(_for_batches(local, rows, lambda batch: _predictions(local, batch))).numpy()
    targets = rows.columns["targets"].cpu().numpy()
    return {
        name: _count(table, attribute_codes(rows, name, local.plan.audit), targets, predicted)
        for name, table in tables.items()
    }


def _predictions(local: LocalModel, batch: Batch) -> Tensor:
    """Float64 on the CPU."""
    promised = local.privacy is not None or local.plan.privacy.evaluation_noise_multiplier is not None
    if promised:
        return row_predictions(local.rowwise.predict, batch, local.task.labels)
    return local.task.predict(local.model, batch).cpu().double()


def _count(table: AuditTable, codes: NDArray[Any], targets: NDArray[Any], predicted: NDArray[np.float64]) -> AuditTable:
    """Count labels by score or by predicted label, or sum the errors of numbers.

    A prediction that is not finite counts as the score 0, as the first label, or as a number below the range.
    """
    if isinstance(table, ValueTable):
        below = np.finfo(np.float64).min
        return table.collected(codes, targets, np.nan_to_num(predicted.reshape(len(targets)), nan=below))
    predicted = np.where(np.isfinite(predicted).all(axis=1, keepdims=True), predicted, 0.0)
    scored = {"scores": predicted[:, 1].clip(0, 1)} if table.scored else {}
    return GroupTable.collect(
        attribute=table.attribute,
        groups=table.groups,
        labels=table.labels,
        group_codes=codes,
        label_codes=targets,
        num_bins=table.num_bins,
        **(scored or {"predictions": predicted.argmax(1)}),
    )
