"""The audit hooks that a plan names."""

from __future__ import annotations

from fedcore.audit.hooks import AuditHook, GateHook, Point
from fedcore.errors import PlanError
from fedcore.plan import RunPlan
from fedcore.plugins import load_object
from fedcore_server.evaluation import audit_settings


def load_hooks(plan: RunPlan) -> tuple[AuditHook, ...]:
    """The gate over the plan's limits, where something is audited, and the plan's own hooks after it.

    Raises:
        PlanError: A reference is no hook, or waits for a point that this run does not pass.
        TaskError: It cannot be imported.
    """
    gate = (GateHook(audit_settings(plan.audit).limits),) if plan.audit.sensitive else ()
    return (*gate, *(_load_hook(reference, plan) for reference in plan.audit.hooks))


def _load_hook(reference: str, plan: RunPlan) -> AuditHook:
    found = load_object(reference, what="audit hook")
    hook = found() if isinstance(found, type) else found
    if not isinstance(hook, AuditHook):
        raise PlanError(f"audit.hooks: {reference!r} is no audit hook; expected name, points and check")
    if Point.DATA in hook.points and not plan.mitigation.steers:
        raise PlanError(
            f"audit.hooks: {reference!r} waits for data, where no hook is called yet: rows are counted before training "
            "only for a [mitigation] that steers training, from the untrained model on; set mitigation.method, or use "
            "another point"
        )
    return hook
