"""The part of a request that the policy judges: known before an array is fetched or data is opened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fedcore.plan import RunPlan

_SHOWN = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFacts:
    """A request whose signature, destination and freshness were checked already.

    Attributes:
        incarnation: How often the driver of the run was started, from 1.
        round: Counted from 1.
        attempt: 0, and one more each time a round is tried again.
        plan: The run's plan, parsed here from what the request holds.
        cohort: Names of the clients asked.
        roster_version: Version of the server's roster.
        model_dtype: Number type that the request declares for the model.
        array_bytes: Size of the request's vectors: the model, and what the algorithm shares.
    """

    run: str
    incarnation: int
    round: int
    attempt: int
    kind: Literal["train", "evaluate"]
    plan: RunPlan
    cohort: tuple[str, ...]
    roster_version: int
    model_dtype: str
    array_bytes: int

    @property
    def data_set(self) -> str:
        """Name of the data set asked for: the plan's ``task.data``, else the name of its task; never a path."""
        return self.plan.task.data or self.plan.task.name


def shown(text: object) -> str:
    """A value from outside for a local message: quoted, escaped and cut, so that it cannot pose as another line."""
    quoted = ascii(text)
    return quoted if len(quoted) <= _SHOWN else f"{quoted[: _SHOWN - 1]}…"
