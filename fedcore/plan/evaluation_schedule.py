"""How often a run asks its clients to evaluate, as far as a plan tells.

A server and every client read the same plan, so that what a client sets aside is what a server may ask for. Where the
plan leaves something open, such as the points that a hook waits for, the larger number counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedcore.plan import RunPlan


def rounds_evaluated(plan: RunPlan) -> int:
    """Rounds whose model is evaluated: every so many, and the last."""
    return -(-plan.federation.rounds // plan.federation.evaluate_every)


def before_training(plan: RunPlan) -> bool:
    """Whether the untrained model may be evaluated.

    An algorithm that learns from evaluations starts from it, and so does a hook that waits for the data. Which hooks do
    only the server knows, and what an algorithm of one's own does only whoever imports it: they count.
    """
    return bool(plan.audit.hooks) or _may_learn(plan)


def _may_learn(plan: RunPlan) -> bool:
    from fedcore.algorithms.registry import ALGORITHMS
    from fedcore.plugins import load_object

    plugin = ALGORITHMS.read(plan.algorithm.reference)
    if plugin.name == "fedavg":
        return False  # without the import of torch
    return plugin.name not in ALGORITHMS.rows or load_object(plugin.target, what="algorithm").learns


def after_training(plan: RunPlan) -> bool:
    """Whether a model that is not the last one may be released, and is evaluated again then."""
    return chooses_a_round(plan) and rounds_evaluated(plan) > 1


def chooses_a_round(plan: RunPlan) -> bool:
    """Whether the model that is released is chosen among those of the evaluated rounds."""
    return plan.audit.checkpoint != "last"


def most_evaluations(plan: RunPlan) -> int:
    """Evaluations of a whole run that is never stopped, at most."""
    return before_training(plan) + rounds_evaluated(plan) + after_training(plan)


def most_in_work(plan: RunPlan, *, after_round: int) -> int:
    """Evaluations that may have been asked for since the state after a round was kept, at most."""
    return 1 + (after_round == 0 and before_training(plan))
