"""SCAFFOLD: control variates correct the drift of clients whose data differ.

Karimireddy et al. 2020, arXiv 1910.06378, algorithm 1, option II.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import Tensor

from fedcore.algorithms.contract import Algorithm, Cohort, Contribution, LocalWork
from fedcore.parameters import State, Tensors

if TYPE_CHECKING:
    from fedcore.plan import RunPlan


class Scaffold(Algorithm):
    """Stochastic controlled averaging. Each client keeps a control variate of its own between rounds."""

    shares, keeps, sends = ("control",), ("own_control",), ("update", "control_change")

    def check(self, plan: RunPlan) -> Iterator[str]:
        if plan.training.optimizer != "SGD" or plan.training.optimizer_options:
            yield "control variates are defined for plain SGD; set training.optimizer to SGD, without optimizer-options"

    def weigh(self, contribution: Contribution, state: State, plan: RunPlan) -> tuple[float, float]:
        """All clients weigh the same: otherwise the server's variate drifts away from the mean of the clients'."""
        return 1.0, 1.0

    def adjust(self, gradient: Tensor, weights: Tensor, received: Tensor, shared: Tensors, kept: Tensors) -> None:
        gradient.add_(shared["control"] - kept["own_control"])

    def finish(
        self, trained: Tensor, received: Tensor, shared: Tensors, kept: Tensors, work: LocalWork
    ) -> tuple[Tensors, Tensors]:
        mean_gradient = (received - trained) / (work.steps * work.learning_rate)
        own = kept["own_control"] - shared["control"] + mean_gradient
        sent = {"update": trained - received, "control_change": own - kept["own_control"]}
        return sent, {"own_control": own}

    def step(self, mean: Tensors, state: State, cohort: Cohort) -> tuple[Tensor, State]:
        return mean["update"], {"control": state["control"] + cohort.share * mean["control_change"]}
