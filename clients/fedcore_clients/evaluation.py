"""Local evaluation: sums and group counts over held-out rows, never a row."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fedcore.audit.groups import GroupTable
from fedcore.audit.tables import attribute_codes, empty_tables
from fedcore.examples import Examples
from fedcore.messages import ClientReport, EvaluateRequest
from fedcore.metrics import Metrics
from fedcore_clients.local_model import Client, LocalModel

_ROWS_AT_ONCE = 2048


def evaluate_locally(local: LocalModel, client: Client, request: EvaluateRequest) -> ClientReport:
    """Evaluate the received model on a client's held-out rows."""
    local.load(request.parameters)
    local.model.eval()
    metrics = Metrics()
    tables = empty_tables(local.task, local.plan)
    if client.held_out is None:
        return ClientReport(client=client.name, round=request.round, metrics=metrics, tables=tables)
    with torch.no_grad():
        for start in range(0, len(client.held_out), _ROWS_AT_ONCE):
            batch = client.held_out.batch(slice(start, start + _ROWS_AT_ONCE))
            metrics += local.task.measure(local.model, batch)
        if tables:
            tables = _fill(tables, local, client.held_out)
    return ClientReport(client=client.name, round=request.round, metrics=metrics, tables=tables)


def _fill(tables: dict[str, GroupTable], local: LocalModel, rows: Examples) -> dict[str, GroupTable]:
    probabilities = torch.cat(
        [
            local.task.predict(local.model, rows.batch(slice(start, start + _ROWS_AT_ONCE)))
            for start in range(0, len(rows), _ROWS_AT_ONCE)
        ]
    )
    targets = rows.columns["targets"].cpu().numpy()
    return {
        name: _count(table, attribute_codes(rows, name, local.plan.audit), targets, probabilities.cpu())
        for name, table in tables.items()
    }


def _count(table: GroupTable, codes: np.ndarray, targets: np.ndarray, probabilities: Tensor) -> GroupTable:
    scored = {"scores": probabilities[:, 1].double().clamp(0, 1).numpy()}
    predicted = {"predictions": probabilities.argmax(1).numpy()}
    return GroupTable.collect(
        attribute=table.attribute,
        groups=table.groups,
        labels=table.labels,
        group_codes=codes,
        label_codes=targets,
        num_bins=table.num_bins,
        **(scored if table.scored else predicted),
    )
