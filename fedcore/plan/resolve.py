"""Completes a plan's open values: for simulation, server, doctor and client alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fedcore.audit.tables.crossing import ATTRIBUTE_MARK
from fedcore.errors import PlanError
from fedcore.plan.run_plan import RunPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFacts:
    """Public facts of the data, which a simulation has and a server has not.

    Attributes:
        audit: Keys of the audit section that the data decides: vocabularies and target range.
    """

    clients: int
    rows_per_client: float
    audit: Mapping[str, Any] = field(default_factory=dict)


def resolve(plan: RunPlan, facts: DataFacts | None = None) -> RunPlan:
    """The complete plan, checked: its rule, noise, divisor and method.

    Args:
        facts: ``None`` in a deployment, whose plan must declare everything that data would show.

    Raises:
        PlanError: A value is missing, or the method contradicts the plan; all problems at once.
        TaskError: The user's own part of the method cannot be imported.
    """
    from fedcore.method.method import Method
    from fedcore.method.names import rule_of
    from fedcore.privacy.resolution import resolve_privacy

    if facts is None and (problems := [*_missing(plan)]):
        raise PlanError(problems)
    private = plan.privacy.unit != "none"
    changes: dict[str, dict[str, Any]] = {
        "aggregation": {"rule": rule_of(plan)},
        "federation": {"clients": plan.federation.clients if facts is None else facts.clients},
        "audit": dict(facts.audit) if facts else {},
    }
    if private:
        changes["privacy"] = resolve_privacy(plan, nominal_batch=_nominal_batch(plan, facts))
    resolved = plan.updated(**changes)
    Method.of(resolved)
    return resolved


def _nominal_batch(plan: RunPlan, facts: DataFacts | None) -> float:
    """The public divisor: every client divides by the same, so that small ones take small steps, not noisy ones."""
    if plan.privacy.nominal_batch is not None or facts is None:
        return plan.privacy.nominal_batch or 0.0
    return plan.privacy.sampling_rate * facts.rows_per_client


def _missing(plan: RunPlan) -> Iterator[str]:
    """What a deployment's plan must declare, and what it cannot have."""
    if plan.devices.simulated:
        yield "devices: a deployment's clients have devices of their own, and real time; leave the section out"
    if plan.privacy.participation == "secret":
        yield (
            "privacy.participation: a deployed client sees the cohort that it belongs to, so that taking part is no "
            "secret; leave it out"
        )
    if plan.privacy.unit == "record" and plan.privacy.nominal_batch is None:
        yield (
            "privacy.nominal-batch: a server cannot see how many rows its clients have; give a public constant, such "
            "as sampling-rate times the rows that a client typically has"
        )
    for attribute in sorted({name for each in plan.audit.sensitive for name in each.split(ATTRIBUTE_MARK)}):
        if attribute not in plan.audit.vocabularies:
            yield (
                f"audit.vocabularies: the categories of {attribute!r} must be declared, because no client can be asked "
                f'which it has; such as vocabularies = {{ {attribute} = ["a", "b", "unknown"] }}'
            )
