"""FedBuff: the server steps by the mean of every K updates, whichever clients send them first.

Nguyen et al. 2022, "Federated learning with buffered asynchronous aggregation", arXiv 2106.06639, algorithm 1, with
the paper's scaling of stale updates, ``1 / sqrt(1 + staleness)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedcore.algorithms.asynchronous.contract import Asynchronous, polynomial
from fedcore.algorithms.contract import Contribution
from fedcore.parameters import State

if TYPE_CHECKING:
    from fedcore.plan import RunPlan


class FedBuff(Asynchronous):
    """Buffered asynchronous aggregation. Its concurrency is ``federation.cohort-size``.

    Args:
        buffer: K, the updates of a step.
    """

    def __init__(self, buffer: int = 10) -> None:
        super().__init__(buffer)

    def weigh(self, contribution: Contribution, state: State, plan: RunPlan) -> tuple[float, float]:
        """The sum is divided by the number of updates, not by their weights: stale ones move the model less."""
        return polynomial(contribution.staleness, 0.5), 1.0
