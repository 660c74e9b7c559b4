"""The loop engine: results depend on plan and data alone."""

import os
import signal

import pytest
import torch
from torch import nn

from fedcore.errors import EngineError, TaskError
from fedcore.parameters import Parameters
from fedcore_server.rounds.rounds import init_state, plan_round
from fedcore_server.rounds.state import Rejection
from fedcore_simulations import simulate
from fedcore_simulations.engines.failures import Failure, without_failures
from fedcore_simulations.engines.loop import LoopEngine
from fedcore_simulations.engines.testing import EngineContract
from fedcore_simulations.engines.workers import WorkerPool
from fedcore_simulations.preparation import prepare
from tests.builders import TinyTask, build_plan, build_private_plan
from tests.models import plain


class TestLoopEngineInThisProcess(EngineContract):
    def make_engine(self, task, plan, clients):
        return LoopEngine(task, plan, clients, num_workers=1, device=torch.device("cpu"))


class TestLoopEngineWithWorkers(EngineContract):
    def make_engine(self, task, plan, clients):
        return LoopEngine(task, plan, clients, num_workers=3, device=torch.device("cpu"))


def repeat(kind, request, asked, slot):
    return kind, request, asked


def test_a_run_left_before_its_end_answers_nothing_of_the_next():
    pool = WorkerPool(num_workers=2, make_job=lambda request: repeat, request_bytes=8, reply_bytes=8)
    left = pool.run("train", "first", range(12))
    assert next(left)[0] == ("train", "first", 0)
    left.close()
    assert [reply for reply, _ in pool.run("evaluate", "second", range(5))] == [
        ("evaluate", "second", place) for place in range(5)
    ]
    pool.close()


def weights(result):
    return torch.cat([tensor.flatten() for tensor in result.model.state_dict().values()])


@pytest.mark.parametrize("build", [build_plan, build_private_plan])
def test_the_number_of_workers_changes_no_bit(build):
    results = [
        simulate(TinyTask(), build(federation={"clients": 7}, engine={"workers": workers})) for workers in (1, 2, 3)
    ]
    assert torch.equal(weights(results[0]), weights(results[1]))
    assert torch.equal(weights(results[0]), weights(results[2]))
    assert results[0].metrics == results[1].metrics == results[2].metrics


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    first, again, other = (simulate(TinyTask(), build_plan(federation={"seed": seed})) for seed in (1, 1, 2))
    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), weights(other))


def test_a_simulation_leaves_the_callers_random_state_and_threads_as_they_were():
    torch.manual_seed(5)
    expected = torch.rand(3)
    threads = torch.get_num_threads()
    torch.manual_seed(5)
    simulate(TinyTask(), build_plan())
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads


class FailsInTraining(TinyTask):
    def loss(self, model, batch):
        if model.training:
            raise ValueError("a bug in the loss")
        return super().loss(model, batch)


class RefusesInTraining(TinyTask):
    def loss(self, model, batch):
        if model.training:
            raise TaskError("this loss refuses")
        return super().loss(model, batch)


class DiesInTraining(TinyTask):
    def loss(self, model, batch):
        if model.training:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().loss(model, batch)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bug_in_a_task_names_the_client_and_the_line(workers):
    with pytest.raises(EngineError, match=r"(?s)client-\d failed in round 1:.*a bug in the loss"):
        simulate(FailsInTraining(), build_plan(engine={"workers": workers}))


class FailsAtOne(TinyTask):
    """A row that one client has raises."""

    broken = None

    def loss(self, model, batch):
        if model.training and self.broken is not None and (batch["inputs"] == self.broken).all(1).any():
            raise ValueError("a broken row")
        return super().loss(model, batch)


@pytest.mark.parametrize(("engine", "workers"), [("loop", 1), ("loop", 2), ("batched", 1), ("batched", 2)])
def test_a_client_that_fails_is_left_out_and_named_and_the_others_go_on(engine, workers, caplog):
    task, plan = FailsAtOne(model=plain), build_plan(engine={"name": engine, "workers": workers})
    task.broken = prepare(task, plan).clients[3].training.columns["inputs"][0]
    result = simulate(task, plan)
    took_part = {name: facts["rejected"] for name, facts in result.summary["participation"].items()}
    assert took_part == {"client-0": {}, "client-1": {}, "client-2": {}, "client-3": {"REFUSED": 3}}
    assert any("client-3" in warning for warning in result.summary["warnings"])
    assert result.summary["rounds"] == 3
    assert "client-3 is left out of round 1" in caplog.text


def test_a_run_ends_where_the_first_five_clients_fail_and_not_before():
    failures = [Failure(client=f"client-{n}", round=1, kind="ValueError", trace=f"trace {n}") for n in range(5)]
    assert [type(each) for each in without_failures(iter([*failures[:4], "update"]))] == [*[Rejection] * 4, str]
    assert len([*without_failures(iter(["update", *failures]))]) == 6
    with pytest.raises(EngineError, match="client-0 failed in round 1:\ntrace 0"):
        list(without_failures(iter([*failures, "update"])))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_refusal_at_a_client_is_raised_as_it_is_with_the_client_and_the_round(workers):
    with pytest.raises(TaskError, match=r"client-\d failed in round 1: this loss refuses"):
        simulate(RefusesInTraining(), build_plan(engine={"workers": workers}))


def test_workers_that_are_killed_again_and_again_are_an_error_and_no_hang():
    with pytest.raises(EngineError, match=r"killed, most likely for want of memory.*fewer --workers"):
        simulate(DiesInTraining(), build_plan(engine={"workers": 2}))


class DiesSometimes(TinyTask):
    """Kills its worker in training, until as many have died as it says."""

    def __init__(self, directory, times):
        super().__init__(model=plain)
        self.directory, self.times, self.main = directory, times, os.getpid()

    def loss(self, model, batch):
        if model.training and os.getpid() != self.main and len(list(self.directory.iterdir())) < self.times:
            (self.directory / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().loss(model, batch)


@pytest.mark.parametrize("engine", ["loop", "batched"])
def test_a_worker_that_is_killed_costs_nothing_but_time(engine, tmp_path, caplog):
    plan = build_plan(engine={"name": engine, "workers": 2}, algorithm={"name": "scaffold"})
    expected = simulate(TinyTask(model=plain), plan)
    found = simulate(DiesSometimes(tmp_path, times=2), plan)
    assert len(list(tmp_path.iterdir())) == 2
    assert found.summary["model_sha256"] == expected.summary["model_sha256"]
    assert found.summary["participation"] == expected.summary["participation"]
    assert caplog.text.count("killed, most likely for want of memory") == 2


def test_an_idle_worker_that_is_killed_is_replaced_in_the_next_round():
    plan = build_plan(engine={"name": "loop", "workers": 2}, federation={"rounds": 1})
    ready = prepare(TinyTask(model=plain), plan)
    state = init_state(ready.task, ready.plan)
    with LoopEngine(ready.task, ready.plan, ready.clients, num_workers=2, device=torch.device("cpu")) as engine:
        request = plan_round(state, ready.plan, engine.available())
        before = [reply.values["update"].clone() for reply in engine.train(request)]
        process, _ = engine._pool._workers[0]
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        after = [reply.values["update"].clone() for reply in engine.train(request)]
    assert all(torch.equal(one, two) for one, two in zip(before, after, strict=True))


def test_more_clients_than_slots_still_come_in_order():
    plan = build_plan(federation={"clients": 150, "rounds": 1})
    ready = prepare(TinyTask(rows=600), plan)
    state = init_state(ready.task, ready.plan)
    with LoopEngine(ready.task, ready.plan, ready.clients, num_workers=3, device=torch.device("cpu")) as engine:
        request = plan_round(state, ready.plan, engine.available())
        assert [update.client for update in engine.train(request)] == list(request.cohort)


class WithCountingBatchNorm(TinyTask):
    """Its running average depends on a counter that does not travel."""

    def build_model(self):
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, momentum=None), nn.ReLU(), nn.Linear(8, 2))


def test_what_one_client_leaves_in_a_counter_does_not_reach_the_next():
    results = [
        simulate(WithCountingBatchNorm(), build_plan(federation={"clients": 5}, engine={"workers": workers}))
        for workers in (1, 2, 2, 3)
    ]
    for other in results[1:]:
        assert torch.equal(weights(results[0]), weights(other))


class WithFrozenTrunk(TinyTask):
    """Transfer learning: the trunk is frozen, and the same in every process."""

    def build_model(self):
        trunk = nn.Linear(4, 16).requires_grad_(False)
        return nn.Sequential(trunk, nn.ReLU(), nn.Linear(16, 2))


def test_frozen_parameters_do_not_travel_and_are_the_same_everywhere():
    task = WithFrozenTrunk()
    state = init_state(task, build_plan())
    assert state.parameters.layout.names == ("2.weight", "2.bias")
    one, two = (
        simulate(task, build_plan(federation={"rounds": 20}, engine={"workers": workers})) for workers in (1, 2)
    )
    assert torch.equal(weights(one), weights(two))
    assert one.metrics["accuracy"] > 0.7


class WithBatchNorm(TinyTask):
    def build_model(self):
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))


def test_running_statistics_are_averaged_like_parameters_without_privacy():
    result = simulate(WithBatchNorm(), build_plan(federation={"rounds": 5}))
    assert float(result.model[1].running_mean.abs().sum()) > 0
    assert Parameters.from_model(result.model).layout.names[-2:] == ("1.running_mean", "1.running_var")
