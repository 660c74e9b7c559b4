"""How often a run asks its clients to evaluate, as far as a plan shows.

A server and every client read the same plan, so that a client reserves what a server may ask for. Where the
plan leaves something open, such as the points of a hook, the larger number counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedcore.plan import RunPlan


def rounds_evaluated(plan: RunPlan) -> int:
    """Number of evaluated rounds: every n-th, and the last."""
    return -(-plan.federation.rounds // plan.federation.evaluate_every)


def before_training(plan: RunPlan) -> bool:
    """Whether the untrained model may be evaluated.

    An algorithm that learns from evaluations starts from it, and so does a hook that waits for the data. Unknown hooks
    and user algorithms count, since only the server knows them.
    """
    return bool(plan.audit.hooks) or _may_learn(plan)


def _may_learn(plan: RunPlan) -> bool:
    from fedcore.algorithms.registry import ALGORITHMS

    plugin = ALGORITHMS.read(plan.algorithm.reference)
    if plugin.name == "fedavg":
        return False  # without the import of torch
    return plugin.name not in ALGORITHMS.rows or ALGORITHMS.load(plan.algorithm.reference).learns


def after_training(plan: RunPlan) -> bool:
    """Whether a model other than the last may be released, and is then evaluated again."""
    return chooses_a_round(plan) and rounds_evaluated(plan) > 1


def chooses_a_round(plan: RunPlan) -> bool:
    return plan.audit.checkpoint != "last"


def most_evaluations(plan: RunPlan) -> int:
    """Maximum evaluations of a run that is never stopped."""
    return before_training(plan) + rounds_evaluated(plan) + after_training(plan)


def most_in_work(plan: RunPlan, *, after_round: int) -> int:
    """Maximum evaluations since the saved state of a round."""
    return 1 + (after_round == 0 and before_training(plan))
