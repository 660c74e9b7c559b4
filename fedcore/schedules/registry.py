"""The learning-rate schedules that a plan names in ``training.schedule``.

There are none of your own: every host computes the rate from the plan, without code that it must have and allow.
"""

from __future__ import annotations

from fedcore.errors import PlanError
from fedcore.plugins import Reference, Registry, name_of
from fedcore.schedules.contract import Schedule
from fedcore.text.toml_problems import unknown

SCHEDULES = Registry(
    what="schedule",
    rows={
        "constant": "fedcore.schedules.decay:Constant",
        "cosine": "fedcore.schedules.annealing:Cosine",
        "polynomial": "fedcore.schedules.annealing:Polynomial",
        "step": "fedcore.schedules.decay:Step",
        "exponential": "fedcore.schedules.decay:Exponential",
        "warmup": "fedcore.schedules.warmup:Warmup",
    },
    parts=("factor",),
)


def schedule_of(reference: Reference) -> Schedule:
    """Raises PlanError: There is no such schedule, or its options are wrong."""
    name = name_of(reference).partition(":")[0]
    if name not in SCHEDULES.rows:
        raise PlanError(unknown(name, SCHEDULES.rows, "schedule"))
    made: Schedule = SCHEDULES.make(reference)
    return made
