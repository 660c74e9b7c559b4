"""The three arms: one plan, trained without clipping, with clipping alone, and as it is."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fedcore.audit.tables.declared import attribute_codes, empty_tables
from fedcore.data.examples import Examples
from fedcore.errors import PlanError
from fedcore.plan import RunPlan
from fedcore.task import Task
from fedcore.tasks.registry import load_task, settled
from fedcore_clients.training.dp.per_example import PerExampleGradients
from fedcore_clients.training.local_model import LocalModel
from fedcore_server.rounds.driver import Run
from fedcore_server.rounds.rounds import init_state
from fedcore_server.runs.model_file import released_model
from fedcore_simulations.engines.registry import build_engine
from fedcore_simulations.preparation import Preparation, prepare

_ROWS_AT_ONCE = 2048
_NO_CLIPPING = 1e8  # the largest clip norm of a plan
_ANY_LOSS = 1e300  # an arm is compared, however bad it gets
_METRICS = ("accuracy", "selection_rate", "true_positive_rate", "false_positive_rate")


class Arm(StrEnum):
    """A way to train."""

    OPEN = "no clipping"
    CLIPPED = "clipping alone"
    PRIVATE = "clipping and noise"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What each run of each arm made of the same held-out rows.

    Attributes:
        groups: For each audited attribute its groups, and each row's position among them, shape (rows,).
        among: For each metric the rows that it is about, bool of shape (rows,).
        hits: For each metric and arm whether a row counts, bool of shape (runs, rows).
        clipped: For each attribute and group the share of training records whose gradient at the private models is
            longer than the clip norm; ``None`` where the unit is no record, or a group has none.
    """

    groups: Mapping[str, tuple[tuple[str, ...], NDArray[Any]]]
    among: Mapping[str, NDArray[np.bool_]]
    hits: Mapping[str, Mapping[Arm, NDArray[np.bool_]]]
    clipped: Mapping[str, Mapping[str, float | None]]


def train_arms(plan: RunPlan, *, runs: int, progress: Callable[[], None] = lambda: None) -> Outcomes:
    """Train every arm `runs` times: same rows, same first model, fresh batches and noise.

    Args:
        progress: Called after each run.

    Raises:
        PlanError: The plan promises nothing, or audits no attribute of a task with labels.
    """
    if plan.privacy.unit == "none":
        raise PlanError("privacy.unit: the plan promises nothing, so that privacy costs nothing")
    if not plan.audit.sensitive:
        raise PlanError("audit.sensitive: the plan audits no attribute, so that there are no groups to compare")
    plan = settled(plan)
    ready = prepare(load_task(plan), plan)
    if not ready.task.labels:
        raise PlanError(
            f"task {ready.task.name!r} has no labels, of which this compares how many are predicted rightly"
        )
    held_out = Examples.joined([client.held_out for client in ready.clients if client.held_out is not None])
    labels = held_out.columns["targets"].numpy()
    predicted: dict[Arm, list[NDArray[np.int64]]] = {arm: [] for arm in Arm}
    clipped: list[NDArray[np.float64]] = []
    for _ in range(runs):
        for arm in Arm:
            model = _trained(ready, _changed(ready.plan, arm))
            predicted[arm].append(_predictions(ready.task, model, held_out, ready.plan))
            if arm is Arm.PRIVATE and plan.privacy.unit == "record":
                clipped.append(_exceeds(ready, model))
            progress()
    among, hits = _hits(ready, labels, {arm: np.stack(each) for arm, each in predicted.items()})
    return Outcomes(
        groups={name: _grouping(ready, name, held_out) for name in plan.audit.sensitive},
        among=among,
        hits=hits,
        clipped={name: _shares(ready, name, clipped) for name in plan.audit.sensitive},
    )


def _changed(plan: RunPlan, arm: Arm) -> RunPlan:
    if arm is Arm.PRIVATE:
        return plan
    changes: dict[str, Any] = {"noise-multiplier": 0.0}
    if arm is Arm.OPEN:
        changes |= {"clip-norm": _NO_CLIPPING, "clip-quantile": None}
    return plan.updated(privacy=changes)


def _trained(ready: Preparation, plan: RunPlan) -> torch.nn.Module:
    """The model of a whole run, which is not released: two arms promise what they do not keep."""
    plan = plan.updated(federation={"max-loss-ratio": _ANY_LOSS})
    with build_engine(ready.engine.reference, ready.task, plan, ready.clients, ready.device) as engine:
        run = Run(task=ready.task, plan=plan, federation=engine)
        outcome = run.to_end(init_state(ready.task, plan), lambda record, state: None)
    return copy.deepcopy(released_model(ready.task, plan, outcome.state.released))


def _grouping(ready: Preparation, attribute: str, rows: Examples) -> tuple[tuple[str, ...], NDArray[Any]]:
    groups = empty_tables(ready.task, ready.plan)[attribute].groups
    return groups, attribute_codes(rows, attribute, ready.plan.audit)


def _predictions(task: Task, model: torch.nn.Module, rows: Examples, plan: RunPlan) -> NDArray[np.int64]:
    """Predicted label of every row; of two labels the second from the plan's threshold on."""
    dtype = next(model.parameters()).dtype
    cast = rows.to(dtype=dtype, device=torch.device("cpu"))
    with torch.no_grad():
        scores = torch.cat(
            [
                task.predict(model, cast.batch(slice(start, start + _ROWS_AT_ONCE)))
                for start in range(0, len(cast), _ROWS_AT_ONCE)
            ]
        )
    if len(task.labels) == 2:
        return (scores[:, 1] >= plan.audit.threshold).long().numpy()
    return scores.argmax(1).numpy()


def _hits(
    ready: Preparation, labels: NDArray[Any], predicted: Mapping[Arm, NDArray[np.int64]]
) -> tuple[dict[str, NDArray[np.bool_]], dict[str, dict[Arm, NDArray[np.bool_]]]]:
    """Accuracy, and what needs a favourable label where there is one."""
    names, favourable = ready.task.labels, ready.plan.audit.favourable
    chosen = 1 if favourable is None and len(names) == 2 else None if favourable is None else names.index(favourable)
    everybody = np.ones(len(labels), dtype=bool)
    among = {"accuracy": everybody}
    hits = {"accuracy": {arm: each == labels for arm, each in predicted.items()}}
    if chosen is not None:
        among |= dict(zip(_METRICS[1:], (everybody, labels == chosen, labels != chosen), strict=True))
        selected = {arm: each == chosen for arm, each in predicted.items()}
        hits |= dict.fromkeys(_METRICS[1:], selected)
    return among, hits


def _exceeds(ready: Preparation, model: torch.nn.Module) -> NDArray[np.float64]:
    """Whether each training record's gradient is longer than the clip norm, 0 or 1."""
    local = LocalModel(ready.task, ready.plan, torch.device("cpu"))
    local.model.load_state_dict(model.state_dict())
    local.model.train()
    gradients = PerExampleGradients(ready.task, local.model, max_physical_batch=ready.plan.training.max_physical_batch)
    rows = _training(ready).to(dtype=local.dtype, device=torch.device("cpu"))
    step = ready.plan.training.max_physical_batch
    norms = [gradients.norms(rows.batch(slice(start, start + step))) for start in range(0, len(rows), step)]
    exceeded: NDArray[np.float64] = (torch.cat(norms) > ready.plan.privacy.clip_norm).double().numpy()
    return exceeded


def _shares(ready: Preparation, attribute: str, clipped: list[NDArray[np.float64]]) -> dict[str, float | None]:
    groups, codes = _grouping(ready, attribute, _training(ready))
    if not clipped:
        return dict.fromkeys(groups)
    mean = np.mean(clipped, axis=0)
    return {
        group: float(mean[codes == code].mean()) if (codes == code).any() else None for code, group in enumerate(groups)
    }


def _training(ready: Preparation) -> Examples:
    return Examples.joined([client.training for client in ready.clients])
