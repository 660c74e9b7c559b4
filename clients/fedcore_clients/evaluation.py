"""Local evaluation: sums and group counts over held-out rows, never a row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fedcore.audit.groups import GroupTable
from fedcore.audit.tables import attribute_codes, empty_tables
from fedcore.audit.values import AuditTable, ValueTable
from fedcore.examples import Batch, Examples
from fedcore.messages import ClientReport, EvaluateRequest
from fedcore.metrics import Metrics
from fedcore.privacy.evaluation import evaluation_privacy
from fedcore_clients.local_model import Client, LocalModel
from fedcore_clients.training import client_randomness

_ROWS_AT_ONCE = 2048


def evaluate_locally(local: LocalModel, client: Client, request: EvaluateRequest) -> ClientReport:
    """Evaluate the received model on a client's held-out rows.

    Guarantee:
        Where the plan asks for noise, that of `EvaluationPrivacy`; the report holds nothing else that depends on rows.
    """
    local.load(request.parameters)
    local.model.eval()
    tables, rows = empty_tables(local.task, local.plan), client.held_out
    with torch.no_grad():
        if rows is not None and tables:
            tables = _fill(tables, local, rows)
        privacy = evaluation_privacy(local.task, local.plan)
        if privacy is None:
            metrics = _measured(local, rows)
        else:
            randomness = client_randomness(local, "evaluate", request.round, request.attempt, client.name)
            metrics = privacy.noisy_metrics(*_losses_and_hits(local, rows), randomness)
            tables = {name: privacy.noisy_table(table, randomness) for name, table in _of_labels(tables).items()}
    return ClientReport(client=client.name, round=request.round, metrics=metrics, tables=tables)


def _measured(local: LocalModel, rows: Examples | None) -> Metrics:
    """The task's own metrics, exact."""
    metrics = Metrics()
    for batch in _batches(rows):
        metrics += local.task.measure(local.model, batch)
    return metrics


def _losses_and_hits(local: LocalModel, rows: Examples | None) -> tuple[NDArray[np.float64], int | None]:
    """Every row's loss, and how many rows are predicted rightly where there are labels."""
    losses, hits = [np.empty(0)], 0
    for batch in _batches(rows):
        losses.append(local.task.loss(local.model, batch).double().cpu().numpy())
        if local.task.labels:
            hits += int((local.task.predict(local.model, batch).argmax(1) == batch["targets"]).sum())
    return np.concatenate(losses), hits if local.task.labels else None


def _batches(rows: Examples | None) -> Iterator[Batch]:
    if rows is not None:
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            yield rows.batch(slice(start, start + _ROWS_AT_ONCE))


def _of_labels(tables: dict[str, AuditTable]) -> dict[str, GroupTable]:
    """Tables that noise can be put on; a plan that asks for it on others is refused long before."""
    return {name: table for name, table in tables.items() if isinstance(table, GroupTable)}


def _fill(tables: dict[str, AuditTable], local: LocalModel, rows: Examples) -> dict[str, AuditTable]:
    predicted = torch.cat([local.task.predict(local.model, batch) for batch in _batches(rows)]).double().cpu().numpy()
    targets = rows.columns["targets"].cpu().numpy()
    return {
        name: _count(table, attribute_codes(rows, name, local.plan.audit), targets, predicted)
        for name, table in tables.items()
    }


def _count(table: AuditTable, codes: NDArray[Any], targets: NDArray[Any], predicted: NDArray[np.float64]) -> AuditTable:
    """Count labels by score or by predicted label, or sum the errors of numbers."""
    if isinstance(table, ValueTable):
        return table.collected(codes, targets, predicted.reshape(len(targets)))
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
