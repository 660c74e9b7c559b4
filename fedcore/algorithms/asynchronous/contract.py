"""What asynchronous algorithms share: the server steps when enough updates have come, from clients of any version."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fedcore.algorithms.contract import Algorithm

if TYPE_CHECKING:
    from fedcore.plan import RunPlan


class Asynchronous(Algorithm):
    """The server works in steps, not rounds; ``federation.cohort-size`` clients train at any time.

    Args:
        buffer: Updates of a step, each of another client.
    """

    weighs_clients = True

    def __init__(self, buffer: int) -> None:
        if isinstance(buffer, bool) or not isinstance(buffer, int) or buffer < 1:
            raise ValueError(f"buffer: expected a whole number of updates from 1, found {buffer!r}")
        self.buffer: int = buffer

    def refusal(self, unit: str) -> str | None:
        """Why the guarantee of a privacy unit would not hold; ``None`` where it holds.

        Guarantee:
            Unit ``record``: a client's reply is noised by itself, and the order of replies and their weights are
            post-processing. A client begins at most once in a step, so that its participations are at most the steps,
            which are what is accounted.
        """
        if unit == "client":
            return (
                "updates are weighed by their staleness, and when a client answers decides who else is in a step: one "
                "client moves more than its own clipped update"
            )
        return super().refusal(unit)


def contradictions(buffer: int, plan: RunPlan) -> Iterator[str]:
    """What in a plan contradicts an asynchronous algorithm with such a buffer, in sentences."""
    federation, devices = plan.federation, plan.devices
    if not devices.simulated:
        yield (
            "it needs to know when each update comes, and runs in simulated time only; name device profiles, such "
            "as --devices phones (a deployment works in rounds)"
        )
    if buffer > federation.clients:
        yield (
            f"buffer: a client is counted once in a step; expected at most the {federation.clients} clients, found "
            f"{buffer}"
        )
    if federation.quorum > buffer:
        yield f"federation.quorum: expected at most the buffer of {buffer}, found {federation.quorum}"
    if federation.cohort_sampling == "poisson":
        yield "federation.cohort-sampling: poisson draws rounds, and it has none; use fixed"
    if devices.wait_for is not None:
        yield "devices.wait-for: it ends rounds, and it has none; its buffer says how many updates make a step"


def polynomial(staleness: int, a: float) -> float:
    """``(1 + staleness)^-a``."""
    return float((1.0 + staleness) ** -a)
