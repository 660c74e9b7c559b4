"""What is made of a plan is made once: a round asks for its method many times."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from fedcore.plan import RunPlan

_Made = TypeVar("_Made")

_PLANS = 4


def once_per_plan(make: Callable[[RunPlan], _Made]) -> Callable[[RunPlan], _Made]:
    """A function that returns what it made of the very same plan before. What it makes must not be changed."""
    recent: deque[tuple[RunPlan, _Made]] = deque(maxlen=_PLANS)

    def made_of(plan: RunPlan) -> _Made:
        for known, made in recent:
            if known is plan:
                return made
        made = make(plan)
        recent.append((plan, made))
        return made

    return made_of
