"""How an evaluation steers the rounds after it, as the plan's section ``mitigation`` says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedcore.audit.metrics.rates import group_rates
from fedcore.audit.tables.groups import UNKNOWN, GroupTable
from fedcore.audit.tables.values import AuditTable
from fedcore.errors import DataError
from fedcore.mitigation.row_weights import reweighed, weighed_by_group
from fedcore.mitigation.shares import ascended, moved_from_mean
from fedcore.mitigation.steering import Steering
from fedcore.plan import RunPlan
from fedcore_server.rounds.evaluation import Evaluation

_ACCURACY = "accuracy"


def steered(plan: RunPlan, before: Steering | None, evaluation: Evaluation) -> Steering | None:
    """What the rounds after `evaluation` are steered by; ``None`` where the plan mitigates nothing."""
    match plan.mitigation.method:
        case "reweighing":
            return before or Steering(
                row_weights=reweighed(_table(plan, evaluation), strength=_strength(plan, default=1.0))
            )
        case "minimax":
            return _minimax(plan, before, evaluation)
        case "fairfed":
            return _fairfed(plan, before, evaluation)
        case "agnostic":
            shares = before.clients if before else _equal(evaluation.clients)
            losses = {name: means["loss"] for name, means in evaluation.clients.items() if "loss" in means}
            return Steering(clients=ascended(shares, losses, step=_strength(plan, default=0.1)))
        case "q-fedavg":
            return Steering(clients={n: means["loss"] for n, means in evaluation.clients.items() if "loss" in means})
    return None


def _minimax(plan: RunPlan, before: Steering | None, evaluation: Evaluation) -> Steering:
    table = _table(plan, evaluation)
    risks = group_risks(table)
    shares = before.groups if before else _sizes(table)
    groups = ascended(shares, risks, step=_strength(plan, default=0.1)) if before else dict(shares)
    return Steering(row_weights=weighed_by_group(table, groups), groups=groups)


def _fairfed(plan: RunPlan, before: Steering | None, evaluation: Evaluation) -> Steering:
    rows = {name: means["n"] for name, means in evaluation.clients.items()}
    total = sum(rows.values())
    if before is None:
        return Steering(clients={name: size / total for name, size in rows.items()} if total else _equal(rows))
    pooled = _spread(plan, _table(plan, evaluation))
    distances = {
        name: _distance(plan, _labelled(tables[_attribute(plan)]), pooled, evaluation, name)
        for name, tables in evaluation.client_tables.items()
    }
    known = {name: distance for name, distance in distances.items() if distance is not None}
    return Steering(clients=moved_from_mean(before.clients, known, step=_strength(plan, default=1.0)))


def _distance(
    plan: RunPlan, table: GroupTable, pooled: float | None, evaluation: Evaluation, client: str
) -> float | None:
    """How far a client's gap is from the federation's; of accuracy, where a gap is undefined."""
    own = _spread(plan, table)
    if own is not None and pooled is not None:
        return abs(own - pooled)
    accuracy = evaluation.clients[client].get(_ACCURACY)
    return None if accuracy is None else abs(accuracy - evaluation.metrics[_ACCURACY])


def _spread(plan: RunPlan, table: GroupTable) -> float | None:
    """Highest minus lowest rate over the known groups; ``None`` where fewer than two have one."""
    rates = group_rates(table, threshold=plan.audit.threshold, favourable=plan.audit.favourable)
    by_group = rates[plan.mitigation.metric]
    known = [rate.value for group, rate in by_group.items() if group != UNKNOWN and rate.value is not None]
    return max(known) - min(known) if len(known) > 1 else None


def group_risks(table: GroupTable) -> dict[str, float]:
    """Mean loss of each known group that has rows, from its counts; noise on them may have made it negative: 0 then.

    With two labels it is the logarithmic loss of the middles of the score bins, else the share of wrong predictions.
    """
    return {
        group: max(0.0, _risk(table, counts.astype(np.float64)))
        for group, counts in zip(table.groups, table.counts, strict=True)
        if group != UNKNOWN and counts.sum() > 0
    }


def _risk(table: GroupTable, counts: np.ndarray) -> float:
    if not table.scored:
        return 1.0 - float(np.trace(counts) / counts.sum())
    middles = (np.arange(table.num_bins) + 0.5) / table.num_bins
    losses = np.stack([-np.log1p(-middles), -np.log(middles)])
    return float((counts * losses).sum() / counts.sum())


def _sizes(table: GroupTable) -> dict[str, float]:
    sizes = {
        group: float(counts.sum())
        for group, counts in zip(table.groups, table.counts, strict=True)
        if group != UNKNOWN and counts.sum() > 0
    }
    total = sum(sizes.values())
    return {group: size / total for group, size in sizes.items()}


def _equal(names: Mapping[str, Any]) -> dict[str, float]:
    return {name: 1.0 / len(names) for name in names}


def _table(plan: RunPlan, evaluation: Evaluation) -> GroupTable:
    return _labelled(evaluation.tables[_attribute(plan)])


def _labelled(table: AuditTable) -> GroupTable:
    """The table of a task with labels; one without is refused before the first round."""
    if isinstance(table, GroupTable):
        return table
    raise DataError(f"attribute {table.attribute!r}: mitigation by group needs labels, and the targets are numbers")


def _attribute(plan: RunPlan) -> str:
    return plan.mitigation.attribute or plan.audit.sensitive[0]


def _strength(plan: RunPlan, *, default: float) -> float:
    return default if plan.mitigation.strength is None else plan.mitigation.strength
