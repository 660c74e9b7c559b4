"""The tests that every engine must pass; subclass `EngineContract` in a test module of your own.

::

    class TestMyEngine(EngineContract):
        def make_engine(self, task, plan, clients):
            return MyEngine(task, plan, clients, num_workers=1, device=torch.device("cpu"))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from fedcore.data.examples import Attribute, Examples
from fedcore.messages import ClientUpdate, EvaluateRequest, TrainRequest, UpdateBlock
from fedcore.plan import RunPlan, merge
from fedcore.task import Task
from fedcore.task_families import Classification
from fedcore_clients.training.evaluation import evaluate_locally
from fedcore_clients.training.local_model import Client, LocalModel
from fedcore_clients.training.train import train_locally
from fedcore_server.rounds.rounds import init_state, plan_round
from fedcore_server.rounds.state import Rejection
from fedcore_simulations.engines.contract import Engine
from fedcore_simulations.preparation import Preparation, prepare

_CPU = torch.device("cpu")
_PRIVATE = {
    "unit": "record", "noise-multiplier": 1.0, "nominal-batch": 10.0, "sampling-rate": 0.5, "steps-per-round": 2,
    "noise": "test",
}  # fmt: skip


class ExampleTask(Classification):
    """Two classes in four dimensions, with one attribute, ``sex``."""

    name = "example"
    labels: tuple[str, ...] = ("no", "yes")

    def __init__(self, dropout: float = 0.1) -> None:
        self.dropout = dropout

    def build_model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(self.dropout), nn.Linear(8, 2))

    def load_data(self, path: Path | None) -> Examples:
        generator = torch.Generator().manual_seed(0)
        targets = torch.randint(0, 2, (120,), generator=generator)
        inputs = torch.randn(120, 4, generator=generator) + targets[:, None] * 1.5
        sex = Attribute.from_values([("female", "male")[row % 2] for row in range(120)], vocabulary=("female", "male"))
        return Examples(columns={"inputs": inputs, "targets": targets}, attributes={"sex": sex})


class _Raising(nn.Module):
    """Cannot take some rows."""

    def __init__(self, broken: Tensor) -> None:
        super().__init__()
        self._broken = broken

    def forward(self, rows: Tensor) -> Tensor:
        if (rows[:, None] == self._broken.to(rows.dtype)).all(2).any():
            raise ValueError("a broken row")
        return rows


class _RaisingTask(ExampleTask):
    def __init__(self, broken: Tensor) -> None:
        super().__init__(dropout=0.0)
        self._broken = broken

    def build_model(self) -> nn.Module:
        return nn.Sequential(_Raising(self._broken), super().build_model())


_PLANS: tuple[Mapping[str, Mapping[str, Any]], ...] = (
    {"training": {"precision": "float64"}},
    {"training": {"precision": "float64"}, "privacy": _PRIVATE},
    {
        "training": {"precision": "float64", "local-epochs": 2},
        "algorithm": {"name": "scaffold"},
        "aggregation": {"rule": "uniform", "encode": ["int8"]},
    },
)


class EngineContract:
    """Set `make_engine`; the reference is `train_locally`, called client by client.

    Attributes:
        tolerance: Largest difference of an update in float64; 0 for an engine that computes the same bits.
    """

    tolerance = 0.0

    def make_engine(self, task: Task, plan: RunPlan, clients: Sequence[Client]) -> Engine:
        """A new engine, not yet started."""
        raise NotImplementedError

    def test_it_knows_every_client(self) -> None:
        ready = _ready()
        with self._engine(ready) as engine:
            assert sorted(engine.available()) == [client.name for client in ready.clients]

    def test_its_updates_equal_those_of_local_training(self) -> None:
        trained = 0
        for sections, dropout in product(_PLANS, (0.0, 0.1)):
            ready = _ready(dropout, **sections)
            if self.make_engine(ready.task, ready.plan, ready.clients).refusal() is None:
                trained += 1
                self._check_rounds(ready)
        assert trained, "it refuses every plan"

    def _check_rounds(self, ready: Preparation) -> None:
        """Two rounds, so that what clients keep between them counts."""
        with self._engine(ready) as engine, TemporaryDirectory() as memory:
            local = LocalModel(ready.task, ready.plan, _CPU, memory=Path(memory))
            for number in (1, 2):
                request = replace(_request(ready), round=number)
                found = _replies(engine, request)
                for client in ready.clients:
                    mine = client.to(dtype=local.dtype, device=local.device)
                    for name, expected in train_locally(local, mine, request).values.items():
                        assert torch.allclose(found[client.name][name], expected, rtol=0.0, atol=self.tolerance)

    def test_its_reports_equal_those_of_local_evaluation(self) -> None:
        ready = _ready(audit={"sensitive": ["sex"]})
        parameters = init_state(ready.task, ready.plan).parameters
        request = EvaluateRequest(round=0, cohort=("client-1", "client-3"), parameters=parameters)
        with self._engine(ready) as engine:
            reports = list(engine.evaluate(request))
        local = LocalModel(ready.task, ready.plan, _CPU)
        assert reports == [evaluate_locally(local, ready.clients[index], request) for index in (1, 3)]

    def test_it_trains_only_the_cohort(self) -> None:
        ready = _ready(federation={"cohort-size": 2})
        request = _request(ready)
        with self._engine(ready) as engine:
            assert tuple(_replies(engine, request)) == request.cohort

    def test_a_client_whose_task_raises_is_rejected_and_the_others_are_trained(self) -> None:
        ready = _ready()
        self._check_left_out(ready, [3])

    def test_many_clients_whose_task_raises_do_not_end_a_run_that_some_can_train(self) -> None:
        ready = _ready(federation={"clients": 8})
        self._check_left_out(ready, [2, 3, 4, 5, 6, 7])

    def _check_left_out(self, ready: Preparation, broken: Sequence[int]) -> None:
        rows = torch.stack([ready.clients[each].training.columns["inputs"][0] for each in broken])
        task = replace(ready, task=_RaisingTask(rows))
        if self._engine(task).refusal() is not None:
            return  # no task of a user's runs in it
        with self._engine(task) as engine:
            replies = list(engine.train(_request(task)))
        names = {client.name for client in ready.clients}
        rejected = {reply.client for reply in replies if isinstance(reply, Rejection)}
        assert rejected == {f"client-{each}" for each in broken}
        blocks = [UpdateBlock.of(each) if isinstance(each, ClientUpdate) else each for each in replies]
        trained = {client for each in blocks if isinstance(each, UpdateBlock) for client in each.clients}
        assert trained == names - rejected

    def test_a_refusal_gives_the_reason(self) -> None:
        ready = _ready()
        why = self.make_engine(ready.task, ready.plan, ready.clients).refusal()
        assert why is None or why

    def _engine(self, ready: Preparation) -> Engine:
        return self.make_engine(ready.task, ready.plan, ready.clients)


def _ready(dropout: float = 0.0, **sections: Mapping[str, Any]) -> Preparation:
    plan: dict[str, Any] = {
        "federation": {"clients": 4, "rounds": 3},
        "aggregation": {"rule": "uniform" if "privacy" in sections else "mean"},
        "training": {"learning-rate": 0.1, "batch-size": 16, "device": "cpu"},
        "engine": {"workers": 1},
    }
    return prepare(ExampleTask(dropout), RunPlan.from_mapping(merge(plan, sections)))


def _request(ready: Preparation) -> TrainRequest:
    names = [client.name for client in ready.clients]
    return plan_round(init_state(ready.task, ready.plan), ready.plan, names)


def _replies(engine: Engine, request: TrainRequest) -> dict[str, dict[str, torch.Tensor]]:
    """Copies of each client's vectors, for their memory may be used again."""
    found = {}
    for reply in engine.train(request):
        assert not isinstance(reply, Rejection)
        block = reply if isinstance(reply, UpdateBlock) else UpdateBlock.of(reply)
        for row, client in enumerate(block.clients):
            found[client] = {name: vectors[row].clone() for name, vectors in block.values.items()}
    return found
