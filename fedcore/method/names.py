"""The names of a plan's method, read without importing what they name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedcore.aggregation.registry import ENCODINGS, RULES
from fedcore.algorithms.registry import ALGORITHMS
from fedcore.plugins import Reference, own_modules
from fedcore.server_optimizers.registry import SERVER_OPTIMIZERS

if TYPE_CHECKING:
    from fedcore.plan import RunPlan


def rule_of(plan: RunPlan) -> Reference:
    """The rule that a plan names, or that it means where it names none."""
    return plan.aggregation.rule or ("mean" if plan.privacy.unit == "none" else "uniform")


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
