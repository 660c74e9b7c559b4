"""The batched engine computes what the loop engine computes, or says why it does not."""

import pytest
import torch
from torch import nn

from fedcore.algorithms.registry import ALGORITHMS, ASYNCHRONOUS
from fedcore.errors import PlanError
from fedcore_simulations import simulate
from fedcore_simulations.engines.batched.engine import BatchedEngine, chunks_of
from fedcore_simulations.engines.testing import EngineContract
from fedcore_simulations.preparation import prepare
from tests.builders import TinyTask, build_plan, build_private_plan
from tests.models import plain
from tests.virtual_time.builders import UNEQUAL

AUDIT = {"sensitive": ["sex"], "vocabularies": {"sex": ["female", "male", "unknown"]}}
OPTIMIZERS = {
    "SGD": {},
    "SGD with momentum": {"optimizer": "SGD", "optimizer_options": {"momentum": 0.9, "weight_decay": 0.01}},
    "Adam": {"optimizer": "Adam", "learning_rate": 0.01},
}


def engine(task, plan, clients, workers=1):
    return BatchedEngine(task, plan, clients, num_workers=workers, device=torch.device("cpu"))


class TestBatchedEngineInThisProcess(EngineContract):
    tolerance = 1e-12

    def make_engine(self, task, plan, clients):
        return engine(task, plan, clients)


class TestBatchedEngineWithWorkers(EngineContract):
    tolerance = 1e-12

    def make_engine(self, task, plan, clients):
        return engine(task, plan, clients, workers=2)


def vector(result):
    return torch.cat([tensor.flatten().double() for tensor in result.model.state_dict().values()])


def trained(name, model=plain, *, precision="float64", **sections):
    training = {"precision": precision, "batch_size": 7, **sections.pop("training", {})}
    federation = {"clients": 6, "rounds": 3, "cohort_size": 5, **sections.pop("federation", {})}
    task = TinyTask(model=model)
    plan = build_plan(engine={"name": name, "workers": 1}, training=training, federation=federation, **sections)
    return simulate(task, plan)


@pytest.mark.parametrize("partition", ["iid", "dirichlet:0.5"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("algorithm", ALGORITHMS.rows)
def test_every_algorithm_and_optimizer_gives_the_model_of_the_loop(algorithm, optimizer, partition):
    training = {"local_epochs": 2, **OPTIMIZERS[optimizer]}
    sections = {"training": training, "algorithm": {"name": algorithm}, "federation": {"partition": partition}}
    if ALGORITHMS.make(algorithm).learns:
        sections["audit"] = AUDIT
    if algorithm in ASYNCHRONOUS:
        sections |= {"devices": UNEQUAL, "algorithm": {"name": "fedbuff:2" if algorithm == "fedbuff" else algorithm}}
    try:
        expected = trained("loop", **sections)
    except PlanError as refusal:
        pytest.skip(f"the plan is refused: {refusal}")
    assert torch.allclose(vector(trained("batched", **sections)), vector(expected), rtol=0.0, atol=1e-12)
    both = [trained(name, precision="float32", **sections) for name in ("batched", "loop")]
    assert torch.allclose(vector(both[0]), vector(both[1]), rtol=0.0, atol=1e-4)


class Normalised(nn.Module):
    """Rows of four numbers as tokens, signals and images."""

    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(7, 6, padding_idx=0)
        self.signal, self.image = nn.Conv1d(6, 4, 3, padding=1), nn.Conv2d(1, 3, 2, bias=False)
        self.layer, self.group = nn.LayerNorm(6), nn.GroupNorm(2, 4)
        self.twice, self.head = nn.Linear(4, 4), nn.Linear(4 + 3, 2)

    def forward(self, inputs):
        words = self.layer(self.tokens(inputs.abs().long().clamp(max=6)))
        signal = self.group(self.signal(words.transpose(1, 2))).amax(2)
        signal = torch.relu(self.twice(torch.relu(self.twice(signal))))
        image = self.image(inputs.view(-1, 1, 2, 2)).flatten(1)
        return self.head(torch.cat([signal, image], dim=1))


class Tied(nn.Module):
    """Two names for one layer, and one part that is not trained."""

    def __init__(self):
        super().__init__()
        self.first = self.again = nn.Linear(4, 4, bias=False)
        self.fixed = nn.Linear(4, 2)
        self.fixed.requires_grad_(False)
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, inputs):
        return self.fixed(self.again(torch.tanh(self.first(inputs))) * self.scale)


@pytest.mark.parametrize("model", [Normalised, Tied, lambda: nn.Linear(4, 2)])
def test_every_kind_of_layer_gives_the_model_of_the_loop(model):
    expected, found = trained("loop", model), trained("batched", model)
    assert torch.allclose(vector(found), vector(expected), rtol=0.0, atol=1e-12)


def test_workers_change_no_bit_and_encoded_updates_are_those_of_the_loop():
    aggregation = {"rule": "uniform", "encode": ["int8"]}
    plans = [
        build_plan(
            federation={"clients": 150, "rounds": 2},
            engine={"name": name, "workers": workers},
            aggregation=aggregation,
            training={"precision": "float64"},
            algorithm={"name": "scaffold"},
        )
        for name, workers in (("batched", 1), ("batched", 2), ("loop", 1))
    ]
    alone, two, loop = (simulate(TinyTask(model=plain, rows=900), plan) for plan in plans)
    assert torch.equal(vector(alone), vector(two))
    assert torch.allclose(vector(alone), vector(loop), rtol=0.0, atol=1e-12)
    assert alone.summary["bytes_received"] == loop.summary["bytes_received"]


def reason(model, **sections):
    ready = prepare(TinyTask(model=model), build_plan(engine={"name": "loop"}, **sections))
    return engine(ready.task, ready.plan, ready.clients).refusal()


class Mixing(nn.Module):
    """A row's output depends on the rows beside it."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, inputs):
        return self.layer(inputs - inputs.mean(0))


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 4))

    def forward(self, inputs):
        return inputs @ self.weight.T


class Doubled(nn.Linear):
    def forward(self, inputs):
        return 2 * super().forward(inputs)


class Bare(nn.Module):
    """Uses a layer's weights past the layer."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, inputs):
        return inputs @ self.layer.weight.T


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Mixing, "depends on the rows that it is trained beside"),
        (Own, "the model (Own) has parameters"),
        (lambda: nn.Sequential(Doubled(4, 2)), "layer '0' (Doubled) has parameters"),
        (lambda: nn.Sequential(nn.Linear(4, 2), nn.Dropout(0.1)), "layer '1' (Dropout) draws random numbers"),
        (lambda: nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2)), "layer '0' (BatchNorm1d) looks at all rows"),
        (Bare, "cannot be run on the rows of several clients at once"),
    ],
)
def test_a_model_that_cannot_be_trained_at_once_is_refused_with_the_layer(model, words):
    assert words in reason(model)


def test_plans_that_it_cannot_run_are_refused_with_the_reason():
    assert "not proven" in reason(Undeclared, **private())
    assert "with convolutions" in reason(convolution, **private())
    assert "optimizer ASGD" in reason(None, training={"optimizer": "ASGD"})


class Undeclared(nn.Module):
    """A model whose forward pass is its own, so that nothing is known of it."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, inputs):
        return self.layer(inputs)


def convolution():
    return nn.Sequential(nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 2, 2), nn.Flatten(), nn.Linear(6, 2))


def private():
    return {"privacy": build_private_plan().to_mapping()["privacy"], "aggregation": {"rule": "uniform"}}


def test_a_private_plan_is_trained_at_once_where_records_stay_apart_by_proof():
    found = [
        simulate(TinyTask(model=model), build_private_plan(engine={"name": "auto"})).summary["engine"]
        for model in (plain, Undeclared)
    ]
    assert found == ["batched", "loop"]


@pytest.mark.parametrize(
    ("clients", "most", "sizes"), [(50, 64, [50]), (100, 64, [50, 50]), (50, 18, [13, 13, 13, 11])]
)
def test_chunks_are_of_about_equal_size_and_as_many_for_each_of_two_workers(clients, most, sizes):
    chunks = chunks_of(list(range(clients)), most)
    assert [len(chunk) for chunk in chunks] == sizes
    assert [place for chunk in chunks for place in chunk] == list(range(clients))
