"""The bare loops that everything is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from fedcore import RunPlan
from fedcore.data.shuffles import shuffled
from fedcore.seeding import derive_seed
from fedcore_clients.training.local_model import Client
from fedcore_server.rounds.cohort import choose_cohort
from fedcore_server.rounds.rounds import init_state
from peer_work.works import Made


def start_of(task: Made, plan: RunPlan) -> dict[str, Tensor]:
    """The weights before the first round, by name."""
    return {name: view.clone() for name, view in init_state(task, plan).parameters}


def drawn_round(plan: RunPlan, clients: Mapping[str, Client], round: int) -> dict[str, list[Tensor]]:
    """The cohort that fedcore draws, and the order of each client's rows in each of its epochs."""
    federation = plan.federation
    cohort = choose_cohort(sorted(clients), federation, round=round, attempt=0)
    drawn = {}
    for name in cohort:
        seed = derive_seed(federation.seed, "order", round, 0, name)
        orders = shuffled([seed], [len(clients[name].training)], epochs=plan.training.local_epochs)
        drawn[name] = [*torch.from_numpy(orders[0])]
    return drawn


class BareLoop:
    """FedAvg as one writes it in a notebook, on the batches that fedcore takes."""

    def __init__(self, task: Made, plan: RunPlan, clients: Sequence[Client], start: Mapping[str, Tensor]) -> None:
        self._plan, self._clients = plan, {client.name: client for client in clients}
        self._model, self._at = task.build_model(), {name: value.clone() for name, value in start.items()}
        self._round = 0

    def prepared(self) -> Callable[[], None]:
        """The next round; its shuffles are made here, and not timed."""
        self._round += 1
        drawn = drawn_round(self._plan, self._clients, self._round)
        rows = [self._clients[name].training.columns for name in drawn]
        return lambda: self._train(rows, list(drawn.values()))

    def _train(self, clients: Sequence[Mapping[str, Tensor]], orders: Sequence[Sequence[Tensor]]) -> None:
        total = {name: torch.zeros_like(tensor) for name, tensor in self._at.items()}
        count, size = sum(len(epochs[0]) for epochs in orders), self._plan.training.batch_size
        for own, epochs in zip(clients, orders, strict=True):
            self._model.load_state_dict(self._at)
            optimizer = torch.optim.SGD(self._model.parameters(), lr=self._plan.training.learning_rate)
            for rows in (rows for order in epochs for rows in torch.split(order, size)):
                optimizer.zero_grad()
                loss = functional.cross_entropy(self._model(own["inputs"][rows]), own["targets"][rows])
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            for name, tensor in self._model.state_dict().items():
                total[name] += len(epochs[0]) / count * (tensor - self._at[name])
        self._at = {name: tensor + total[name] for name, tensor in self._at.items()}

    def difference(self, weights: Mapping[str, Tensor]) -> float:
        """The largest, of any number of the two models."""
        return max(float((weights[name] - tensor).abs().max()) for name, tensor in self._at.items())


class OpacusLoop(BareLoop):
    """As `BareLoop`, with Opacus' hooks and optimizer. It draws batches and noise of its own."""

    def _train(self, clients: Sequence[Mapping[str, Tensor]], orders: Sequence[Sequence[Tensor]]) -> None:
        from opacus.grad_sample import GradSampleModule
        from opacus.optimizers import DPOptimizer

        total = {name: torch.zeros_like(tensor) for name, tensor in self._at.items()}
        for own in clients:
            self._model.load_state_dict(self._at)
            model = GradSampleModule(self._model, loss_reduction="sum")
            optimizer = DPOptimizer(
                torch.optim.SGD(model.parameters(), lr=self._plan.training.learning_rate),
                noise_multiplier=1.0,
                max_grad_norm=1.0,
                expected_batch_size=self._plan.training.batch_size,
                loss_reduction="sum",
            )
            for _ in range(self._plan.privacy.steps_per_round):
                rows = torch.nonzero(torch.rand(len(own["targets"])) < self._plan.privacy.sampling_rate).squeeze(1)
                optimizer.zero_grad()
                logits = model(own["inputs"][rows])
                functional.cross_entropy(logits, own["targets"][rows], reduction="sum").backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            model.to_standard_module()
            for name, tensor in self._model.state_dict().items():
                total[name] += (tensor - self._at[name]) / len(clients)
        self._at = {name: tensor + total[name] for name, tensor in self._at.items()}
