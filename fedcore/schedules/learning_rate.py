"""The learning rate of a round: the one place that decides it, for clients, engines and server alike."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING

from fedcore.schedules.contract import Schedule
from fedcore.schedules.registry import schedule_of

if TYPE_CHECKING:
    from fedcore.plan import RunPlan


def learning_rate(plan: RunPlan, round: int) -> float:
    """Step length of the clients' optimizer in a round.

    Args:
        round: From 1. Round 0, the model before training, has the rate of round 1.
    """
    schedule, rounds = plan.training.schedule, plan.federation.rounds
    if schedule is None:
        return planned_rate(plan)
    return planned_rate(plan) * _known(json.dumps(schedule, sort_keys=True)).factor(max(round, 1) - 1, rounds)


def planned_rate(plan: RunPlan) -> float:
    """The rate that the schedule's factors multiply: that of the privacy section, where it promises and has one."""
    private = plan.privacy.learning_rate if plan.privacy.unit != "none" else None
    return private or plan.training.learning_rate


@lru_cache(maxsize=8)
def _known(schedule: str) -> Schedule:
    """Made once: a round asks for the rate of every client."""
    return schedule_of(json.loads(schedule))
