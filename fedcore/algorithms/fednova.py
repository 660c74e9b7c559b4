"""FedNova: updates are divided by their clients' numbers of steps, so that who takes more steps does not count more.

Wang et al. 2020, "Tackling the objective inconsistency problem in heterogeneous federated optimization", arXiv
2007.07481, section 4: with ``p`` the clients' weights and ``tau`` their steps of plain SGD, the model moves by
``(sum p tau) (sum p d / tau)`` of the updates ``d``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import Tensor

from fedcore.algorithms.contract import Algorithm, Cohort, LocalWork
from fedcore.parameters import State, Tensors
from fedcore.storage.large_vectors import difference

if TYPE_CHECKING:
    from fedcore.plan import RunPlan


class FedNova(Algorithm):
    """Normalised averaging of trained parameters. A model's buffers, which no gradient moves, are averaged."""

    numbers = ("steps",)

    def check(self, plan: RunPlan) -> Iterator[str]:
        if plan.training.optimizer != "SGD" or plan.training.optimizer_options:
            yield (
                "the length of an update follows the number of steps under plain SGD; set training.optimizer to SGD, "
                "without optimizer-options"
            )

    def finish(
        self, trained: Tensor, received: Tensor, shared: Tensors, kept: Tensors, work: LocalWork
    ) -> tuple[Tensors, Tensors]:
        update = difference(trained, received)
        update[..., : work.trained] /= work.steps
        return {"update": update, "steps": update.new_ones(*update.shape[:-1], 1) * work.steps}, {}

    def step(self, mean: Tensors, state: State, cohort: Cohort) -> tuple[Tensor, State]:
        direction = mean["update"].clone()
        direction[: cohort.trained] *= mean["steps"]
        return direction, state
