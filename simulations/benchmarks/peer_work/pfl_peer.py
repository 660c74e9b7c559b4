"""pfl's row: its FederatedAveraging on its SimulatedBackend. Run in pfl's own environment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByDatapoints
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.pytorch import PyTorchTensorDataset
from pfl.hyperparam.base import NNEvalHyperParams, NNTrainHyperParams
from pfl.metrics import Metrics
from pfl.model.pytorch import PyTorchModel
from torch import Tensor, nn
from torch.nn import functional

from peer_work.models import MODELS
from peer_work.peer_process import DONE, READY, Assignment, asked, save, say, wait


class Trained(nn.Module):
    """A model with the loss that pfl asks for."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def loss(self, inputs: Tensor, targets: Tensor, eval: bool = False) -> Tensor:
        return functional.cross_entropy(self.model(inputs), targets)

    def metrics(self, inputs: Tensor, targets: Tensor, eval: bool = True) -> dict[str, Any]:
        return {}


class Turns(TrainingProcessCallback):
    """Waits after each round until the next is asked for."""

    def on_train_begin(self, *, model: Any) -> Any:
        say(READY)
        wait()
        return Metrics()

    def after_central_iteration(
        self, aggregate_metrics: Any, model: Any, *, central_iteration: int
    ) -> tuple[bool, Any]:
        say(DONE)
        return not wait(), Metrics()


def places(assignment: Assignment) -> Iterator[tuple[int, int]]:
    """Round and place of each member of each cohort, in order."""
    for round in range(1, assignment.facts["rounds"] + 1):
        for place in range(len(assignment.cohort(round))):
            yield round, place


def main() -> None:
    assignment = asked()
    facts = assignment.facts
    bare = MODELS[facts["model"]]()
    bare.load_state_dict(assignment.weights)
    network, members = Trained(bare), places(assignment)
    model = PyTorchModel(
        model=network,
        local_optimizer_create=torch.optim.SGD,
        central_optimizer=torch.optim.SGD(network.parameters(), lr=1.0),
    )

    def dataset(member: tuple[int, int]) -> PyTorchTensorDataset:
        return PyTorchTensorDataset(assignment.rows(*member), user_id=str(member))

    data = FederatedDataset(dataset, lambda: next(members))
    FederatedAveraging().run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=facts["rounds"],
            evaluation_frequency=facts["rounds"] + 1,
            train_cohort_size=facts["cohort"],
            val_cohort_size=0,
        ),
        backend=SimulatedBackend(training_data=data, val_data=data, postprocessors=[WeightByDatapoints()]),
        model=model,
        # Epochs are written one after the other, since each has an order of its own.
        model_train_params=NNTrainHyperParams(
            local_num_epochs=1, local_learning_rate=facts["learning_rate"], local_batch_size=facts["batch"]
        ),
        model_eval_params=NNEvalHyperParams(local_batch_size=facts["batch"]),
        callbacks=[Turns()],
    )
    save(assignment, bare.state_dict())


if __name__ == "__main__":
    main()
