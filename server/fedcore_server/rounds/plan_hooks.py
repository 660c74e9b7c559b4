"""The audit hooks that a plan names."""

from __future__ import annotations

from fedcore.audit.verdict.hooks import AuditHook, GateHook
from fedcore.errors import PlanError
from fedcore.plan import RunPlan
from fedcore.plugins import Reference, Registry
from fedcore_server.evaluation.evaluation import audit_settings

HOOKS = Registry(what="audit hook", rows={})


def load_hooks(plan: RunPlan) -> tuple[AuditHook, ...]:
    """The gate over the plan's limits, where something is audited, and the plan's own hooks after it.

    Raises:
        PlanError: A reference is no hook.
        TaskError: It cannot be imported.
    """
    gate = (GateHook(audit_settings(plan).limits),) if plan.audit.sensitive else ()
    return (*gate, *(_load_hook(reference) for reference in plan.audit.hooks))


def _load_hook(reference: Reference) -> AuditHook:
    hook = HOOKS.make(reference)
    if not isinstance(hook, AuditHook):
        raise PlanError(f"audit.hooks: {reference!r} is no audit hook; expected name, points and check")
    return hook
