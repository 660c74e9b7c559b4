"""Whether data can be used as a plan's task needs it; of the rows only their number is shown."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedcore.checkup.finding import Check, Finding, ok, problem, skipped, warning
from fedcore.data.example_files import is_client_file, load_client_file
from fedcore.errors import FedcoreError, PlanError, TaskError
from fedcore_clients.checkup.plan_trial import PlanTrial
from fedcore_clients.policy.settings import Policy

if TYPE_CHECKING:
    from fedcore_clients.training.local_model import Client

_TRAINING_METRIC = "loss"
_NAME = "client"  # decides which rows are held out, and nothing else here


def data_checks(
    data: Mapping[str, Path], trial: PlanTrial | None, policy: Callable[[], Policy] | None
) -> Iterator[Check]:
    """A check for each data set, and one for the plan's data set if it was not given.

    Args:
        policy: Reads the policy; ``None`` where there is none.
    """
    for name, path in data.items():
        yield Check(name=f"data {name}", run=partial(_looked_at, name, path, trial, policy))
    if trial is not None and trial.data_set not in data:
        yield Check(name="data", run=lambda: iter([_not_named(trial.data_set)]))


def _not_named(data_set: str) -> Finding:
    return skipped(
        "data",
        f"the plan asks for data set {ascii(data_set)[:80]}, whose path was not given",
        "fedcore doctor … --data NAME=PATH",
    )


def _looked_at(
    name: str, path: Path, trial: PlanTrial | None, policy: Callable[[], Policy] | None
) -> Iterator[Finding]:
    about = f"data {name}"
    rules = _read(policy)
    if not path.exists() or not os.access(path, os.R_OK):
        yield problem(about, f"{path} is absent, or not readable by this user", "name the right path")
        return
    if policy is not None and rules is None:
        yield skipped(about, "the policy that would judge it cannot be read")
        return
    if rules is not None and name not in rules.data.allowed:
        yield warning(
            about, "the policy does not list it, so each request for it is refused", "list it at data.allowed"
        )
    if trial is None:
        yield _without_plan(about, path)
    elif name != trial.data_set:
        yield skipped(about, f"the plan asks for another data set, {ascii(trial.data_set)[:80]}")
    elif not trial.may_be_built:
        yield skipped(about, "the policy does not allow the plan's task, so its code is not run")
    else:
        yield from _tried(about, path, trial, rules)


def _read(policy: Callable[[], Policy] | None) -> Policy | None:
    with suppress(PlanError):  # reported by the check of the policy
        return None if policy is None else policy()
    return None


def _without_plan(about: str, path: Path) -> Finding:
    if not is_client_file(path):
        return ok(about, f"{path} exists; --plan PLAN tries its content")
    training, held_out = load_client_file(path)
    return ok(about, f"{len(training)} training and {0 if held_out is None else len(held_out)} held-out rows")


def _tried(about: str, path: Path, trial: PlanTrial, rules: Policy | None) -> Iterator[Finding]:
    """Open the data as a request would, and try every part of the task on it."""
    task = trial.plan.task.name
    try:
        rows = _rows(path, trial)
    except FedcoreError as error:
        yield problem(about, _without_values(error), f"bring data as the task {task} reads it")
        return
    yield from (warning(about, text, "see docs/privacy-linter.md") for text in rows.warnings)
    withheld = [] if rules is None else list(_withheld(rows, trial, rules))
    yield from (problem(about, reason, "change the policy if you agree to it") for reason in withheld)
    if not withheld:
        secret = trial.plan.privacy.unit != "none" and trial.plan.privacy.relation == "add-remove"
        number = (
            "the number of rows is secret" if secret else f"{rows.training} training, {rows.held_out} held-out rows"
        )
        yield ok(about, f"as the task {task} expects; {number}")
        yield from _device_trial(trial, rows.client)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """A client's rows, their numbers, the names of the metrics on held-out rows, and the linter's warnings."""

    training: int
    held_out: int
    metrics: tuple[str, ...]
    client: Client
    warnings: tuple[str, ...]


def _rows(path: Path, trial: PlanTrial) -> _Rows:
    """Every row was found usable before."""
    import torch

    from fedcore.audit.tables.declared import attribute_codes, empty_tables
    from fedcore.privacy.linter import Subject, lint_rows, refuse, warnings_of
    from fedcore.task import check_task
    from fedcore_clients.training.dp.full_precision import probe_precision
    from fedcore_clients.training.dp.probe import probe_isolation
    from fedcore_clients.training.owner_data import load_client

    task, plan = trial.task, trial.plan
    client = load_client(task, plan, _NAME, path, secret=0)
    check_task(task, trial.model, client.training)
    findings: tuple[Any, ...] = ()
    if plan.privacy.unit == "record":
        probe_isolation(task, trial.model, client.training, plan)
        precision, cpu = getattr(torch, plan.training.precision), torch.device("cpu")
        probe_precision(task, trial.model, client.training, dtype=precision, device=cpu)
        rows = Subject(plan=plan, task=task, model=trial.model, training=client.training, held_out=client.held_out)
        findings = lint_rows(rows)
        refuse(findings)
    empty_tables(task, plan)
    for attribute in plan.audit.sensitive:
        attribute_codes(client.held_out or client.training, attribute, plan.audit)
    with torch.no_grad():
        measured = task.measure(trial.model, client.training.batch(slice(0, 1)))
    held_out = 0 if client.held_out is None else len(client.held_out)
    return _Rows(
        training=len(client.training),
        held_out=held_out,
        metrics=tuple(measured.sums),
        client=client,
        warnings=tuple(warnings_of(findings)),
    )


def _device_trial(trial: PlanTrial, client: Client) -> Iterator[Finding]:
    from fedcore_clients.checkup.device import device_trial

    return device_trial(trial.task, trial.plan, client)


def _withheld(rows: _Rows, trial: PlanTrial, rules: Policy) -> Iterator[str]:
    release = rules.release
    for what, number in (("training", rows.training), ("held-out", rows.held_out)):
        if number < release.min_examples:
            yield f"release.min-examples is {release.min_examples}, and there are fewer {what} rows"
    if unlisted := [name for name in rows.metrics if name not in release.evaluation]:
        yield f"release.evaluation does not list {', '.join(unlisted)}, which the task measures"
    if trial.plan.privacy.unit == "none" and _TRAINING_METRIC not in release.training:
        yield f"release.training does not list {_TRAINING_METRIC}, which each update without privacy reports"


def _without_values(error: FedcoreError) -> str:
    """The message of a part of the task; of a foreign exception, whose text may quote a row, only kind and place."""
    cause = error.__cause__
    if not isinstance(error, TaskError) or cause is None or isinstance(cause, FedcoreError):
        return str(error)
    place = traceback.extract_tb(cause.__traceback__)[-1]
    return f"{str(error).partition(':')[0]}: {type(cause).__name__} in {place.filename}, line {place.lineno}"
