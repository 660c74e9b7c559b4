"""From a plan as it was written to a plan that can be run: data split, numbers filled in, everything checked.

Nothing is written and nothing is trained here, so that whatever is wrong costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.parameter import UninitializedParameter

from fedcore.audit.tables.declared import declared_vocabularies, empty_tables, target_range
from fedcore.audit.verdict.hooks import AuditHook
from fedcore.audit.verdict.settings import check_measurable
from fedcore.data.examples import Examples
from fedcore.data.held_out import choose_held_out, size_is_secret
from fedcore.errors import TaskError
from fedcore.local_optimizer import build_optimizer
from fedcore.method.exchange import Exchange
from fedcore.method.method import check_learnable
from fedcore.plan import RunPlan
from fedcore.plan.resolve import DataFacts, resolve
from fedcore.privacy.isolation import Isolation
from fedcore.privacy.linter import Finding, Subject, lint, refuse
from fedcore.seeding import derive_seed
from fedcore.task import Task, check_task, load_examples
from fedcore_clients.training.device_choice import choose_device
from fedcore_clients.training.dp.full_precision import probe_precision
from fedcore_clients.training.dp.probe import isolation_of, probe_isolation
from fedcore_clients.training.local_model import Client
from fedcore_server.evaluation.audit_points import AuditPoints
from fedcore_server.evaluation.evaluation import audit_settings
from fedcore_server.evaluation.fixed_test_set import FixedTestSet, check_apart, fixed_test_set_of
from fedcore_server.evaluation.stopping import check_stopping
from fedcore_server.rounds.plan_hooks import load_hooks
from fedcore_server.runs.model_file import check_savable
from fedcore_simulations.dealt_clients import DealtClients
from fedcore_simulations.engines.registry import Choice, check_engine, choose_engine
from fedcore_simulations.engines.workers import default_workers
from fedcore_simulations.partition.dealing import Partition, partition
from fedcore_simulations.partition.registry import PARTITIONERS
from fedcore_simulations.virtual_time.workload import with_flops

PROBED = (
    "before training, the model's layers were checked, and per-record gradients of a batch compared in float64 with "
    "those of records alone"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """All that a simulation needs.

    Attributes:
        plan: Resolved: no number is left to be derived.
        device_note: Why the device is not the one that was found first; empty where it is.
        engine: How clients are trained.
        examples: Number of all rows.
        split: How the rows are split across the clients, for ``split.json``; ``None`` where their number is secret.
        findings: What the linter found in plan, model and rows, without refusing them.
        isolation: How records are kept apart; ``None`` where nothing is promised to them.
        test_set: The plan's own test data, if it names any.
    """

    task: Task
    plan: RunPlan
    clients: Sequence[Client]
    hooks: tuple[AuditHook, ...]
    device: torch.device
    device_note: str
    engine: Choice
    examples: int
    split: dict[str, Any] | None
    findings: tuple[Finding, ...]
    isolation: Isolation | None
    test_set: FixedTestSet | None


def prepare(task: Task, plan: RunPlan) -> Preparation:
    """Split the data and resolve the plan, checking every part.

    Raises:
        FedcoreError: Of the kind that fits; see ``fedcore.errors``.
    """
    PARTITIONERS.make(plan.federation.partition)
    check_engine(plan.engine.name)
    cores = min(plan.engine.workers or default_workers(), plan.federation.clients)
    choice = choose_device(plan.training.device, plan, lambda: _build_model(task), workers=cores)
    hooks = load_hooks(plan)
    examples = load_examples(task, Path(plan.task.data) if plan.task.data else None)
    held_out = choose_held_out(examples, plan, plan.federation.seed).numpy()
    division = partition(examples, held_out, plan.federation)
    clients = DealtClients.of(examples, held_out, division)
    model, isolation = _check_model(task, plan, examples, choice.device)
    check_apart(examples, task, plan)
    plan = with_flops(_resolve(task, plan, examples, division, held_out), task, model, examples)
    largest = int(np.bincount(division.owner[~held_out], minlength=1).max())
    engine = choose_engine(task, plan, clients, choice.device)
    subject = Subject(plan=plan, task=task, model=model, exchange=Exchange.of(plan), largest_client=largest)
    findings = lint(_with_rows(subject, examples, held_out, isolation))
    refuse(findings)
    check_savable(task, plan)
    tables = empty_tables(task, plan)
    noisy = plan.privacy.evaluation_noise_multiplier is not None
    check_measurable(audit_settings(plan), tables, noisy=noisy)
    check_learnable(plan, tables)
    check_stopping(task, plan)
    AuditPoints(plan=plan, hooks=hooks, tables=tables).plan_declared()
    return Preparation(
        task=task,
        plan=plan,
        clients=clients,
        hooks=hooks,
        device=choice.device,
        device_note=choice.note,
        engine=engine,
        examples=len(examples),
        findings=findings,
        isolation=isolation,
        test_set=fixed_test_set_of(task, plan, choice.device),
        split=None if size_is_secret(plan) else _describe_split(task, examples, held_out, division),
    )


def _with_rows(
    subject: Subject, examples: Examples, held_out: NDArray[np.bool_], isolation: Isolation | None
) -> Subject:
    """What is linted, with the rows that a promise is about."""
    if subject.plan.privacy.unit == "none":
        return subject
    kept = torch.from_numpy(np.flatnonzero(held_out))
    return replace(
        subject,
        isolation=isolation,
        training=examples.select(torch.from_numpy(np.flatnonzero(~held_out))),
        held_out=examples.select(kept) if len(kept) else None,
    )


def _check_model(
    task: Task, plan: RunPlan, examples: Examples, device: torch.device
) -> tuple[torch.nn.Module, Isolation | None]:
    """Build the model once, and try every part of the task on it; returns the model and how records are kept apart."""
    private = plan.privacy.unit == "record"
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(plan.federation.seed, "model"))
        model = _build_model(task)
        # Before the task's code is given a row.
        isolation = isolation_of(task, model, examples, plan, device) if private else None
        check_task(task, model, examples)
        build_optimizer(plan, [parameter for parameter in model.parameters() if parameter.requires_grad], round=1)
        if private:
            probe_isolation(task, model, examples, plan)
            probe_precision(task, model, examples, dtype=getattr(torch, plan.training.precision), device=device)
    return model, isolation


def _build_model(task: Task) -> torch.nn.Module:
    try:
        model = task.build_model()
    except Exception as error:
        raise TaskError(f"build_model failed: {type(error).__name__}: {error}") from error
    if not isinstance(model, torch.nn.Module):
        raise TaskError(f"build_model must return a torch.nn.Module; found {type(model).__name__}")
    if any(isinstance(parameter, UninitializedParameter) for parameter in model.parameters()):
        raise TaskError("build_model returned lazy layers, whose shapes are not known yet; give them their input sizes")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise TaskError("build_model returned a model without a trainable parameter; nothing could be learned")
    return model


def _resolve(
    task: Task, plan: RunPlan, examples: Examples, division: Partition, held_out: NDArray[np.bool_]
) -> RunPlan:
    """Fill in what the plan leaves to be derived from public facts."""
    audit: dict[str, Any] = {"vocabularies": declared_vocabularies(plan.audit, examples)}
    if plan.audit.sensitive and plan.audit.target_range is None:
        audit["target-range"] = target_range(task, None if plan.privacy.unit != "none" else examples)
    clients = len(division.names)
    facts = DataFacts(clients=clients, rows_per_client=float((~held_out).sum()) / clients, audit=audit)
    # The code in a plan is a deployment's: here that at hand counts.
    return resolve(plan.updated(task={"code": None}), facts)


def _describe_split(task: Task, examples: Examples, held_out: NDArray[np.bool_], division: Partition) -> dict[str, Any]:
    """Rows per client and class; where there are no classes, rows per client."""
    targets = examples.columns.get("targets")
    labels = task.labels or ("rows",)
    codes = targets.numpy() if task.labels and targets is not None else np.zeros(len(examples), dtype=np.int64)
    counts = np.zeros((len(division.names), len(labels)), dtype=np.int64)
    np.add.at(counts, (division.owner, codes), 1)
    kept = np.bincount(division.owner[held_out], minlength=len(division.names))
    return {
        "attribute": "label" if task.labels else "rows",
        "categories": list(labels),
        "clients": list(division.names),
        "counts": counts.tolist(),
        "held_out": kept.tolist(),
    }
