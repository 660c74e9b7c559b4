"""The compiled engine computes what the loop engine computes, or says why it does not."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from fedcore.algorithms.registry import ALGORITHMS, ASYNCHRONOUS
from fedcore.data.examples import Examples
from fedcore.errors import PlanError
from fedcore_server.rounds.rounds import close_round, init_state, plan_round
from fedcore_simulations import simulate
from fedcore_simulations.engines.compiled.engine import CompiledEngine
from fedcore_simulations.engines.compiled.training import CompiledTraining
from fedcore_simulations.engines.registry import build_engine, choose_engine
from fedcore_simulations.engines.testing import EngineContract
from fedcore_simulations.preparation import prepare
from tests.builders import TinyTask, build_plan, build_private_plan
from tests.virtual_time.builders import UNEQUAL

pytest.importorskip("numba", reason="the extra [fast] is not installed")
CPU = torch.device("cpu")
CHANGES_STEPS = {"fedasync", "feddyn", "fedprox", "scaffold", "fedminmax", "reweighing"}


class TestCompiledEngine(EngineContract):
    tolerance = 1e-12

    def make_engine(self, task, plan, clients):
        return CompiledEngine(task, plan, clients, num_workers=1, device=CPU)


class TestCompiledEngineWithWorkers(EngineContract):
    tolerance = 1e-12

    def make_engine(self, task, plan, clients):
        return CompiledEngine(task, plan, clients, num_workers=3, device=CPU)


def one():
    return nn.Linear(4, 2)


def three():
    """Widths that no unrolled loop divides."""
    hidden = nn.Sequential(nn.Linear(13, 7), nn.ReLU(), nn.Dropout(0.0))
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 13), nn.Tanh(), hidden, nn.Identity(), nn.Linear(7, 2))


def vector(result):
    return torch.cat([tensor.flatten().double() for tensor in result.model.state_dict().values()])


def trained(name, model, *, workers=1, precision="float64", task=None, **sections):
    training = {"precision": precision, "batch_size": 7, "local_epochs": 2, **sections.pop("training", {})}
    federation = {"clients": 6, "rounds": 3, "cohort_size": 5, **sections.pop("federation", {})}
    plan = build_plan(engine={"name": name, "workers": workers}, training=training, federation=federation, **sections)
    return simulate(task or TinyTask(model=model), plan)


@pytest.mark.parametrize("partition", ["iid", "dirichlet:0.5"])
@pytest.mark.parametrize("model", [one, three])
@pytest.mark.parametrize("algorithm", ALGORITHMS.rows)
def test_every_algorithm_gives_the_model_of_the_loop_or_is_refused(algorithm, model, partition):
    sections = {"algorithm": {"name": algorithm}, "federation": {"partition": partition}}
    if ALGORITHMS.make(algorithm).learns:
        sections["audit"] = {"sensitive": ["sex"], "vocabularies": {"sex": ["female", "male", "unknown"]}}
    if algorithm in ASYNCHRONOUS:
        sections |= {"devices": UNEQUAL, "algorithm": {"name": "fedbuff:2" if algorithm == "fedbuff" else algorithm}}
    if algorithm in CHANGES_STEPS:
        with pytest.raises(PlanError, match="changes local steps"):
            trained("compiled", model, **sections)
        return
    found = trained("compiled", model, workers=2, **sections)
    expected = trained("loop", model, **sections)
    assert torch.allclose(vector(found), vector(expected), rtol=0.0, atol=1e-12)
    assert found.summary["metrics"]["loss"] == pytest.approx(expected.summary["metrics"]["loss"], abs=1e-12)
    both = [trained(name, model, precision="float32", **sections) for name in ("compiled", "loop")]
    assert torch.allclose(vector(both[0]), vector(both[1]), rtol=0.0, atol=1e-4)


def test_workers_and_chunks_change_no_bit(monkeypatch):
    sections = {"federation": {"clients": 40, "cohort_size": 31, "partition": "dirichlet:1"}, "precision": "float32"}
    task = TinyTask(model=three, rows=900)
    alone = vector(trained("compiled", three, task=task, **sections))
    assert torch.equal(alone, vector(trained("compiled", three, workers=4, task=task, **sections)))
    monkeypatch.setattr("fedcore_simulations.engines.compiled.engine._CHUNK_BYTES", 1)
    assert torch.equal(alone, vector(trained("compiled", three, task=task, **sections)))


def test_a_batch_larger_than_any_client_needs_no_memory_of_its_size(monkeypatch):
    monkeypatch.setattr("fedcore_simulations.engines.batched.training.for_client", None)  # else that would take over
    sections = {"training": {"batch_size": 10**12}}
    both = [trained(name, three, **sections) for name in ("compiled", "loop")]
    assert torch.allclose(vector(both[0]), vector(both[1]), rtol=0.0, atol=1e-12)


def test_one_large_client_makes_chunks_small(monkeypatch):
    sections = {"federation": {"clients": 40, "cohort_size": 31, "partition": "dirichlet:1"}, "precision": "float32"}
    task = TinyTask(model=three, rows=900)
    whole = vector(trained("compiled", three, task=task, **sections))
    monkeypatch.setattr("fedcore_simulations.engines.compiled.engine._ORDER_BYTES", 2**12)
    sizes = []
    real = CompiledTraining.train
    monkeypatch.setattr(CompiledTraining, "train", lambda *given: sizes.append(len(given[2])) or real(*given))
    assert torch.equal(whole, vector(trained("compiled", three, task=task, **sections)))
    assert len(sizes) > 3
    assert max(sizes) < 31


def test_encoded_updates_are_those_of_the_loop():
    aggregation = {"rule": "uniform", "encode": ["int8"]}
    both = [trained(name, three, aggregation=aggregation) for name in ("compiled", "loop")]
    assert torch.allclose(vector(both[0]), vector(both[1]), rtol=0.0, atol=1e-12)


class Spoilt(TinyTask):
    """Some rows are so large that training on them overflows."""

    def load_data(self, path):
        examples = super().load_data(path)
        inputs = examples.columns["inputs"].clone()
        inputs[:3] = 3e38
        return replace(examples, columns={**examples.columns, "inputs": inputs})


def test_a_client_that_overflows_is_rejected_as_by_the_loop():
    rejections = []
    for name in ("compiled", "loop"):
        plan = build_plan(
            engine={"name": name, "workers": 1},
            federation={"clients": 6, "rounds": 1, "quorum": 1},
            training={"local_epochs": 3, "learning_rate": 1.0},
        )
        ready = prepare(Spoilt(model=one), plan)
        with build_engine(name, ready.task, ready.plan, ready.clients, CPU) as engine:
            state = init_state(ready.task, ready.plan)
            request = plan_round(state, ready.plan, engine.available())
            _, report = close_round(state, ready.plan, request, engine.train(request))
        rejections.append([(each.client, each.code) for each in report.rejected])
    assert rejections[0] == rejections[1]
    assert 0 < len(rejections[0]) < 6
    assert {code for _, code in rejections[0]} == {"NONFINITE"}


class Classless(TinyTask):
    """A target is none of the two classes: the kernel must not write there."""

    def load_data(self, path):
        examples = super().load_data(path)
        targets = examples.columns["targets"].clone()
        targets[0] = -100
        return Examples(columns={**examples.columns, "targets": targets}, attributes=examples.attributes)


def reason(model, task=TinyTask, **sections):
    plan = build_plan(engine={"name": "loop"}, **sections)
    ready = prepare(TinyTask(model=model), plan)
    if task is not TinyTask:
        rows = task(model=model).load_data(None)
        ready = replace(ready, clients=[replace(each, training=rows) for each in ready.clients])
    return CompiledEngine(ready.task, ready.plan, ready.clients, num_workers=1, device=CPU).refusal()


class Twice(nn.Sequential):
    pass


def shared():
    layer = nn.Linear(4, 4)
    return nn.Sequential(layer, nn.ReLU(), layer, nn.ReLU(), nn.Linear(4, 2))


def changed(change):
    """A perceptron that computes otherwise than its layers say."""

    def build():
        model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
        change(model)
        return model

    return build


HOOKS = {
    "forward": lambda model: model[0].register_forward_hook(lambda module, given, found: found * 2),
    "of a layer without weights": lambda model: model[1].register_forward_pre_hook(lambda module, given: None),
    "backward": lambda model: model[1].register_full_backward_hook(lambda module, given, found: None),
    "before backward": lambda model: model.register_full_backward_pre_hook(lambda module, found: None),
    "of a weight": lambda model: model[0].weight.register_hook(lambda gradient: gradient * 0),
    "its own forward": lambda model: setattr(model[1], "forward", torch.sin),
}


@pytest.mark.parametrize("name", HOOKS)
def test_a_model_that_computes_more_than_its_layers_is_refused(name):
    assert "has hooks, or a forward of its own" in reason(changed(HOOKS[name]))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: nn.Sequential(nn.Linear(4, 3), nn.GELU(), nn.Linear(3, 2)), "layer '1' is a GELU"),
        (lambda: nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), "layer '1' is a Linear where"),
        (lambda: nn.Sequential(nn.Linear(4, 2), nn.ReLU()), "does not end with a Linear"),
        (lambda: nn.Sequential(nn.ReLU(), nn.Linear(4, 2)), "layer '0' is a ReLU where"),
        (lambda: nn.Linear(4, 2, bias=False), "no bias"),
        (lambda: nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 2)), "is a Dropout"),
        (lambda: Twice(nn.Linear(4, 2)), "is a Twice"),
        (shared, "used twice"),
        (changed(lambda model: model.register_buffer("mean", torch.ones(5))), "buffers outside the layers"),
        (
            changed(lambda model: model.register_parameter("scale", nn.Parameter(torch.ones(5)))),
            "parameters or buffers outside the layers",
        ),
    ],
)
def test_other_models_are_refused_by_the_name_of_the_layer(model, words):
    assert words in reason(model)


def test_other_plans_and_data_are_refused():
    assert "without options" in reason(one, training={"optimizer_options": {"momentum": 0.9}})
    assert "plain SGD" in reason(one, training={"optimizer": "Adam"})
    assert "none of the classes" in reason(one, task=Classless)
    assert reason(one) is None
    ready = prepare(TinyTask(model=one), build_private_plan())
    private = CompiledEngine(ready.task, ready.plan, ready.clients, num_workers=1, device=CPU)
    assert private.refusal() == "it has no record-level privacy"


@pytest.mark.parametrize(("rounds", "chosen"), [(2, "batched"), (6000, "compiled")])
def test_auto_takes_it_for_long_runs_only(rounds, chosen):
    ready = prepare(TinyTask(model=one), build_plan(engine={"name": "loop"}, federation={"rounds": rounds}))
    plan = ready.plan.updated(engine={"name": "auto"})
    assert choose_engine(ready.task, plan, ready.clients, CPU).reference == chosen


def test_without_numba_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert 'pip install "fedcore[fast]"' in reason(one)


def test_choosing_an_engine_does_not_import_numba():
    code = "import sys, fedcore_simulations.engines.compiled.engine; sys.exit('numba' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_kernel_needs_no_folder_that_can_be_written():
    code = (
        "import numba.core.caching as caching; caching.CacheImpl._locator_classes = []; import numpy as np;"
        "from fedcore_simulations.engines.compiled.kernel import _product;"
        "assert _product(np.ones(3), np.ones(3)) == 3.0"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
