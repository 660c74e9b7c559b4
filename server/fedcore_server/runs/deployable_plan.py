"""From a plan as it was written to one that clients can be sent; no data is read."""

from __future__ import annotations

import torch

from fedcore.audit.tables.declared import empty_tables
from fedcore.audit.verdict.settings import check_measurable
from fedcore.local_optimizer import build_optimizer
from fedcore.method.exchange import Exchange
from fedcore.method.method import check_learnable
from fedcore.plan import RunPlan
from fedcore.plan.own_files import with_own_files
from fedcore.plan.resolve import resolve
from fedcore.privacy.isolation import Isolation
from fedcore.privacy.isolation_proof import least_isolation
from fedcore.privacy.linter import Finding, Subject, lint, refuse
from fedcore.task import Task
from fedcore.task_code import with_code
from fedcore.tasks.registry import load_task, settled
from fedcore.tracking.registry import load_trackers
from fedcore_server.evaluation.audit_points import AuditPoints
from fedcore_server.evaluation.evaluation import audit_settings
from fedcore_server.evaluation.fixed_test_set import fixed_test_set_of
from fedcore_server.evaluation.stopping import check_stopping
from fedcore_server.rounds.plan_hooks import load_hooks
from fedcore_server.runs.model_file import check_savable


def deployable(plan: RunPlan) -> RunPlan:
    """Fill in what can be derived, and refuse what clients could not work with.

    Raises:
        PlanError: Something is missing that a simulation would take from the data; lists everything.
        TaskError: The task, a part of the method, a hook or a tracker cannot be imported here, or the model not built
            or saved.
        PrivacyError: The linter refuses the claim.
    """
    plan = settled(with_own_files(plan))
    plan = with_code(resolve(plan))
    build_optimizer(plan, [torch.nn.Parameter(torch.zeros(1))], round=1)  # or each client would refuse it by itself
    task = load_task(plan)
    hooks = load_hooks(plan)
    load_trackers(plan)
    tables = empty_tables(task, plan)
    noisy = plan.privacy.evaluation_noise_multiplier is not None
    check_measurable(audit_settings(plan), tables, noisy=noisy)
    check_learnable(plan, tables)
    check_stopping(task, plan)
    fixed_test_set_of(task, plan, torch.device("cpu"))
    AuditPoints(plan=plan, hooks=hooks, tables=tables).plan_declared()
    check_savable(task, plan)
    refuse(privacy_findings(task, plan))
    return plan


def privacy_findings(task: Task, plan: RunPlan) -> tuple[Finding, ...]:
    """The linter's findings about plan, model and code of a deployment, without data."""
    with torch.random.fork_rng(devices=[]):
        model = task.build_model() if plan.privacy.unit != "none" else None
    isolation = least_isolation(task, model, plan) if model is not None and plan.privacy.unit == "record" else None
    return lint(Subject(plan=plan, task=task, model=model, exchange=Exchange.of(plan), isolation=isolation))


def isolation_known(task: Task, plan: RunPlan) -> Isolation | None:
    """The least isolation of records at each client; ``None`` where the plan promises none."""
    if plan.privacy.unit != "record":
        return None
    with torch.random.fork_rng(devices=[]):
        return least_isolation(task, task.build_model(), plan)
