"""The Ray engine without Ray: what it asks, what it does with the replies, and what it refuses."""

import pytest
import torch
from flwr.app import ConfigRecord, Error, Message, RecordDict

from fedcore.errors import EngineError, PlanError, TaskError
from fedcore_simulations import simulate
from fedcore_simulations.engines.ray import client_app, cluster, engine
from fedcore_simulations.engines.ray.asking import Asker
from fedcore_simulations.engines.ray.engine import RayEngine
from fedcore_simulations.engines.ray.parcels import Parcel
from fedcore_simulations.engines.testing import EngineContract
from fedcore_simulations.runner import resume
from tests.builders import TinyTask, build_plan
from tests.simulations.instant_flower import NODES, InstantGrid, without_ray
from tests.simulations.test_loop_engine import FailsInTraining, RefusesInTraining

CPU = torch.device("cpu")


class TestRayEngine(EngineContract):
    @pytest.fixture(autouse=True)
    def alone(self, monkeypatch):
        without_ray(monkeypatch)

    def make_engine(self, task, plan, clients):
        return RayEngine(task, plan, clients, num_workers=2, device=CPU)


def hash_of(engine, out=None, task=None, **sections):
    plan = build_plan(federation={"clients": 7, "rounds": 3}, engine={"name": engine}, **sections)
    return simulate(task or TinyTask(), plan, out=out).summary["model_sha256"]


def test_a_run_that_remembers_gives_the_same_model(monkeypatch):
    without_ray(monkeypatch)
    scaffold = {"algorithm": {"name": "scaffold"}, "aggregation": {"encode": ["top-k:0.3"]}}
    assert hash_of("ray", **scaffold) == hash_of("loop", **scaffold)


def test_a_run_is_resumed_by_another_engine_with_what_its_clients_keep(monkeypatch, tmp_path):
    scaffold = {"algorithm": {"name": "scaffold"}}
    whole = hash_of("loop", **scaffold)
    without_ray(monkeypatch)
    left, real = [17], client_app.train_locally

    def train(*arguments):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(client_app, "train_locally", train)
    with pytest.raises(KeyboardInterrupt):
        hash_of("ray", out=tmp_path / "run", **scaffold)
    assert len(list((tmp_path / "run/checkpoint/memory").iterdir())) == 7
    assert resume(tmp_path / "run", engine="loop").summary["model_sha256"] == whole


def test_auto_does_not_take_it(monkeypatch):
    without_ray(monkeypatch)
    assert simulate(TinyTask(), build_plan(engine={"name": "auto"})).summary["engine"] in ("batched", "loop")


def test_a_machine_that_cannot_read_the_task_is_refused_with_what_to_install(monkeypatch):
    def fail(reference):
        raise ModuleNotFoundError("No module named 'my_task'")

    without_ray(monkeypatch)
    monkeypatch.setattr(engine, "fetched", fail)
    with pytest.raises(EngineError, match="No module named 'my_task'; install the task's module"):
        hash_of("ray")


def test_errors_of_a_task_come_back_as_what_they_were(monkeypatch):
    without_ray(monkeypatch)
    with pytest.raises(EngineError, match=r"(?s)client-\d failed in round 1:.*a bug in the loss"):
        hash_of("ray", task=FailsInTraining())
    with pytest.raises(TaskError, match=r"client-\d failed in round 1: this loss refuses"):
        hash_of("ray", task=RefusesInTraining())


def test_another_version_on_a_machine_of_the_cluster_is_refused(monkeypatch):
    without_ray(monkeypatch)
    found = [{"fedcore": "2"}, {"fedcore": "1"}]
    monkeypatch.setattr(client_app, "versions", lambda: found.pop() if len(found) > 1 else found[0])
    with pytest.raises(EngineError, match=r"expected the same versions on every machine.*'1'.*'2'"):
        hash_of("ray")


def echo(message):
    return Message(message.content, reply_to=message)


def contents(number):
    return [Parcel(client=f"client-{index}").around(RecordDict()) for index in range(number)]


def names(replies):
    return [reply["client"]["name"] for reply in replies]


class Clock:
    """Goes on by ten seconds with each wait."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += 10


def asker(grid, check=lambda: False):
    clock = Clock()
    return Asker(grid, NODES, check, clock=clock, sleep=clock.sleep)


def test_replies_come_in_the_order_asked_and_no_more_are_open_than_there_are_nodes():
    grid = InstantGrid(echo)
    asked = asker(grid).ask("train", iter(contents(10)))
    assert names([next(asked)]) == ["client-0"]
    assert len(grid.sent) == len(NODES)
    assert names(asked) == [f"client-{index}" for index in range(1, 10)]


def test_nobody_asked_is_nobody_answered():
    assert list(asker(InstantGrid(echo)).ask("train", [])) == []


def test_what_a_lost_machine_had_is_asked_again_and_a_late_second_reply_is_dropped():
    lost = [True, True, False]
    grid = InstantGrid(lambda message: None if lost and lost.pop() else echo(message))
    assert names(asker(grid, check=lambda: True).ask("train", contents(5))) == [f"client-{index}" for index in range(5)]
    assert len(grid.sent) > 5


def test_a_client_whose_process_died_is_asked_again():
    dying = [False, True, True]
    grid = InstantGrid(lambda message: Error(0, "the actor died") if dying and dying.pop() else echo(message))
    assert names(asker(grid).ask("train", contents(5))) == [f"client-{index}" for index in range(5)]
    assert len(grid.sent) == 7


def test_a_process_that_dies_again_and_again_ends_the_run_with_the_clients_name():
    grid = InstantGrid(lambda message: Error(0, "the actor died"))
    with pytest.raises(EngineError, match=r"client-0: its process on the Ray cluster died \d+ times.*the actor died"):
        list(asker(grid).ask("train", contents(1)))
    assert len(grid.sent) > 3


def test_an_error_of_the_code_is_not_tried_again():
    grid = InstantGrid(lambda message: Error(2, "no module named mine"))
    with pytest.raises(EngineError, match="client-0 failed on the Ray cluster: no module named mine"):
        list(asker(grid).ask("train", contents(1)))
    assert len(grid.sent) == 1


def test_a_simulation_that_ended_is_noticed_while_waiting():
    def check():
        raise EngineError("Flower's simulation ended")

    with pytest.raises(EngineError, match="ended"):
        list(asker(InstantGrid(lambda message: None), check).ask("train", contents(1)))


def test_an_unknown_kind_of_error_is_the_engines():
    failed = RecordDict({"failed": ConfigRecord({"kind": "Surprise", "why": "for no reason"})})
    grid = InstantGrid(lambda message: Message(failed, reply_to=message))
    with pytest.raises(EngineError, match="for no reason"):
        list(asker(grid).ask("train", contents(1)))


@pytest.mark.parametrize("address", ["nowhere", "host:port", "ray://host:10001", "host:70000"])
def test_an_address_that_is_none_is_refused_with_what_was_expected(address):
    with pytest.raises(PlanError, match="expected an address as host:port, or auto, found"):
        hash_of({"name": "ray", "address": address})


def test_without_ray_the_refusal_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    with pytest.raises(PlanError, match=r'Ray is not installed; pip install "fedcore\[ray\]"'):
        hash_of("ray")


def test_workers_beside_an_address_and_another_device_are_refused(monkeypatch):
    monkeypatch.setattr(engine, "why_not", lambda address: None)
    plan = build_plan(engine={"workers": 2})
    refused = RayEngine(TinyTask(), plan, [], "host:1", num_workers=2, device=CPU).refusal()
    assert refused == "a cluster has a worker for each of its CPUs; leave engine.workers out, or the address"
    refused = RayEngine(TinyTask(), plan, [], num_workers=2, device=torch.device("cuda")).refusal()
    assert refused == "it trains on CPUs, and the device is cuda; set training.device to 'cpu'"


@pytest.mark.parametrize(
    "tensor",
    [torch.arange(6.0).reshape(2, 3).T, torch.empty(0, 3), torch.tensor(True), torch.ones(2, dtype=torch.bfloat16)],
)
def test_rows_come_out_of_shared_memory_as_they_went_in(tensor):
    parts = cluster._to_array(tensor)
    parts[0].flags.writeable = False
    found = cluster._to_tensor(parts)
    assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape)
    assert torch.equal(found, tensor)
