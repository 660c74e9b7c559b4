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

    Mitigation starts from it, and so does a hook that waits for the data; which hooks do only the server knows, so that
    any hook counts.
    """
    return plan.mitigation.method != "none" or bool(plan.audit.hooks)


def most_evaluations(plan: RunPlan) -> int:
    """Evaluations of a whole run that is never stopped, at most."""
    return before_training(plan) + rounds_evaluated(plan)


def most_in_work(plan: RunPlan, *, after_round: int) -> int:
    """Evaluations that may have been asked for since the state after a round was kept, at most."""
    return 1 + (after_round == 0 and before_training(plan))
