"""The names of a plan's method, read without importing what they name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedcore.aggregation.registry import ENCODINGS, RULES
from fedcore.algorithms.registry import ALGORITHMS
from fedcore.plugins import Reference, name_of, own_modules
from fedcore.server_optimizers.registry import SERVER_OPTIMIZERS

if TYPE_CHECKING:
    from fedcore.plan import RunPlan


def rule_of(plan: RunPlan) -> Reference:
    """The rule that a plan names, or that it means where it names none."""
    return plan.aggregation.rule or _usual_rule(plan)


def _usual_rule(plan: RunPlan) -> str:
    return "mean" if plan.privacy.unit == "none" else "uniform"


def method_words(plan: RunPlan) -> str:
    """Algorithm, rule where it is not the default, and encodings: ``scaffold, top-k:0.05 + int8``."""
    rule = name_of(rule_of(plan))
    encodings = " + ".join(map(name_of, plan.aggregation.encode))
    parts = (name_of(plan.algorithm.reference), "" if rule == _usual_rule(plan) else rule, encodings)
    return ", ".join(part for part in parts if part)


def check_names(plan: RunPlan) -> None:
    """Refuse unknown names at once, without the seconds that it takes to import torch.

    Raises:
        PlanError: With the nearest name.
    """
    own_code(plan)


def own_code(plan: RunPlan) -> tuple[str, ...]:
    """The ``module:object`` of every part of a plan's method that is not fedcore's."""
    return (
        *own_modules([plan.algorithm.reference], ALGORITHMS),
        *own_modules([rule_of(plan)], RULES),
        *own_modules(plan.aggregation.encode, ENCODINGS),
        *own_modules([plan.federation.server_optimizer], SERVER_OPTIMIZERS),
    )
