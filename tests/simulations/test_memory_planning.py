"""Memory is planned before the start; what does not fit is refused, and what runs out costs speed and no result."""

import logging

import pytest
import torch
from torch import nn

from fedcore.errors import DataError, DeviceError, EngineError, PlanError
from fedcore.storage import free_memory as module
from fedcore.storage.free_memory import check_free, free_memory
from fedcore.text.wording import bytes_text
from fedcore_simulations import simulate
from fedcore_simulations.engines import memory as planning
from fedcore_simulations.engines.batched.engine import BatchedEngine
from fedcore_simulations.engines.batched.private import PrivateSteps
from fedcore_simulations.engines.memory import MemoryPlan, Needs, bytes_of_a_row, needs_of
from fedcore_simulations.preparation import prepare
from tests.builders import TinyTask, build_plan, build_private_plan
from tests.models import plain
from tests.pretend_device import on_a_pretended_device
from tests.simulations.test_batched_engine import vector

CPU = torch.device("cpu")
MIB = 2**20
NEEDS = Needs(client=10 * MIB, vector=MIB, rows=0, server=20 * MIB, reply=2 * MIB)


def with_free(monkeypatch, num_bytes):
    for each in (module, planning):
        monkeypatch.setattr(each, "free_memory", lambda: num_bytes)


def planned(monkeypatch, free, *, at_once=16, workers=4):
    with_free(monkeypatch, free)
    return MemoryPlan.of(NEEDS, CPU, at_once=at_once, workers=workers)


def test_where_memory_suffices_or_is_unknown_the_plan_is_what_was_wanted(monkeypatch):
    for free in (None, 100_000 * MIB):
        plan = planned(monkeypatch, free)
        assert (plan.at_once, plan.workers, plan.refusal) == (16, 4, None)


def test_workers_are_given_up_before_clients_at_once_which_decide_bits(monkeypatch):
    fewer = planned(monkeypatch, 800 * MIB)
    assert (fewer.at_once, 1 <= fewer.workers < 4) == (16, True)
    alone = planned(monkeypatch, 120 * MIB)
    assert (alone.workers, 1 <= alone.at_once < 16, alone.refusal) == (1, True, None)
    for plan in (fewer, alone):
        assert plan.num_bytes <= 0.9 * plan.free < NEEDS.total(2 * plan.at_once, plan.workers + 1)


def test_a_single_client_that_does_not_fit_is_refused_with_figures_and_advice(monkeypatch):
    found = planned(monkeypatch, 30 * MIB).refusal
    assert f"needs about {bytes_text(NEEDS.total(1, 1))} of memory (client 10.5 MB, model 4.19 MB" in found
    assert "31.5 MB of cpu is free" in found
    assert "lower training.batch-size" in found


def test_what_the_backward_pass_needs_is_measured():
    """Of a row: its inputs, the tanh's output twice as wide as the layer's, and the loss's few numbers."""
    wide = nn.Sequential(nn.Linear(4, 1000), nn.Tanh(), nn.Linear(1000, 2))
    task = TinyTask(model=lambda: wide)
    clients = prepare(task, build_plan(engine={"name": "loop"})).clients
    found = bytes_of_a_row(task, build_plan(), clients)
    assert 4 * 1004 <= found <= 4 * 1004 + 64
    assert bytes_of_a_row(task, build_plan(training={"precision": "float64"}), clients) >= 8 * 1004


def test_needs_grow_with_optimizer_privacy_precision_and_batch():
    def client(plan, build=build_plan):
        ready = prepare(TinyTask(model=plain), build(**{"engine": {"name": "loop"}, **plan}))
        return needs_of(ready.task, ready.plan, ready.clients, CPU)

    least = client({"training": {"batch_size": 8}})
    assert client({"training": {"batch_size": 16}}).client > least.client
    assert client({"training": {"batch_size": 8, "optimizer": "Adam"}}).client > least.client
    assert client({"algorithm": {"name": "scaffold"}, "training": {"batch_size": 8}}).reply == 2 * least.reply
    wide = client({"training": {"batch_size": 8, "precision": "float64"}})
    assert wide.client > least.client
    assert wide.rows > least.rows == 0  # copied to the other type
    assert client({}, build_private_plan).client > least.client


def batched(workers=1, **sections):
    federation = {"clients": 8, "rounds": 2}
    return build_plan(engine={"name": "batched", "workers": workers}, federation=federation, **sections)


def test_a_plan_that_cannot_fit_is_refused_before_anything_is_written(monkeypatch, tmp_path):
    with_free(monkeypatch, 1000)
    monkeypatch.setattr(module, "SHARE", 1e6)  # the rows are there already
    for name in ("auto", "loop", "batched"):
        with pytest.raises(PlanError, match="training one client needs about"):
            simulate(TinyTask(model=plain), build_plan(engine={"name": name}), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_rows_that_do_not_fit_are_refused_before_they_are_made(monkeypatch):
    with_free(monkeypatch, 5 * 10**8)
    with pytest.raises(DataError, match=r"rows of 20,000 clients.* 500 MB is free; lower federation\.clients"):
        simulate("synthetic", build_plan(federation={"clients": 20_000}))
    with_free(monkeypatch, 1000)
    with pytest.raises(DataError, match="rows, to be sorted by client, need"):
        simulate(TinyTask(model=plain), build_plan())
    with pytest.raises(DataError, match="1 kB is free"):
        check_free(10**9, "they", "buy memory")


def test_few_bytes_free_change_the_result_by_rounding_only(monkeypatch):
    plan = batched(training={"precision": "float64"})
    expected = simulate(TinyTask(model=plain), plan)
    needs = needs_of(*_facts(plan))
    with_free(monkeypatch, int((needs.total(2, 1) + needs.client) / 0.9))
    ready = prepare(TinyTask(model=plain), plan)
    with BatchedEngine(ready.task, ready.plan, ready.clients, num_workers=2, device=CPU) as engine:
        assert (engine._at_once, engine.num_workers) == (2, 1)
    assert torch.allclose(vector(simulate(TinyTask(model=plain), plan)), vector(expected), rtol=0.0, atol=1e-12)


def _facts(plan):
    ready = prepare(TinyTask(model=plain), plan)
    return ready.task, ready.plan, ready.clients, CPU


def test_memory_of_the_machine_and_of_its_control_groups_is_read(monkeypatch, tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:  8000 kB\n")
    inner = tmp_path / "groups/outer/inner"
    inner.mkdir(parents=True)
    (tmp_path / "own").write_text("0::/outer/inner\n")
    for folder, most in ((inner, "max"), (inner.parent, "5000000")):
        (folder / "memory.max").write_text(f"{most}\n")
        (folder / "memory.current").write_text("3000000\n")
        (folder / "memory.stat").write_text("anon 1\ninactive_file 500000\n")
    names = {"_MEMINFO": "meminfo", "_OWN_GROUP": "own", "_GROUPS": "groups"}
    for name, place in names.items():
        monkeypatch.setattr(module, name, tmp_path / place)
    assert free_memory() == 2_500_000
    (inner.parent / "memory.max").write_text("max\n")
    assert free_memory() == 8000 * 1024


class Crowded(TinyTask):
    """Raises where more rows are trained at once than there is room for."""

    def __init__(self, error, room):
        super().__init__(model=plain)
        self.error, self.room, self.tried = error, room, []

    def loss(self, model, batch):
        if model.training and len(batch["inputs"]) > self.room:
            self.tried.append(len(batch["inputs"]))
            raise self.error
        return super().loss(model, batch)


ERRORS = {
    "device": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "host": RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried"),
    "python": MemoryError("Unable to allocate 7.28 TiB"),
}


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_a_chunk_for_which_memory_runs_out_is_halved_once_and_the_model_stays(error, workers, caplog):
    plan = batched(workers, training={"batch_size": 4, "precision": "float64"})
    expected, crowded = simulate(TinyTask(model=plain), plan), Crowded(error, room=20)
    with caplog.at_level(logging.WARNING, "fedcore.simulation"):
        found = simulate(crowded, plan)
    assert torch.allclose(vector(found), vector(expected), rtol=0.0, atol=1e-12)
    assert found.summary["participation"] == expected.summary["participation"]
    if workers == 1:
        assert crowded.tried == [32]  # of eight clients, once
        said = [record.message for record in caplog.records]
        assert said == ["cpu ran out of memory with 8 clients at once; continuing with 4"]


def test_a_chunk_of_one_that_does_not_fit_ends_the_run_with_what_to_change():
    crowded = Crowded(ERRORS["device"], room=12)  # the three clients of the engine's trial
    plan = batched(training={"batch_size": 4})
    ready = prepare(crowded, plan)
    crowded.room = 3
    with (
        BatchedEngine(crowded, ready.plan, ready.clients, num_workers=1, device=CPU) as engine,
        pytest.raises(EngineError, match=r"single client in training; lower training\.batch-size"),
    ):
        _trained(engine, crowded, ready.plan)


def _trained(engine, task, plan):
    from fedcore_server.rounds.rounds import init_state, plan_round

    return list(engine.train(plan_round(init_state(task, plan), plan, engine.available())))


def private(**privacy):
    return build_private_plan(
        engine={"name": "batched", "workers": 1},
        federation={"clients": 8, "rounds": 2},
        privacy={"sampling_rate": 0.9, **privacy},
        training={"precision": "float64"},
    )


def test_under_privacy_the_same_drawn_batches_are_trained_with_fewer_rows_at_once(caplog):
    expected = simulate(TinyTask(model=plain), private())
    with on_a_pretended_device(most_elements=600):  # 8 hidden numbers for each of about a hundred rows
        found = simulate(TinyTask(model=plain), private())
    assert torch.allclose(vector(found), vector(expected), rtol=0.0, atol=1e-12)
    assert found.summary["engine"] == "batched"
    assert "rows at once; continuing with" in caplog.text


def test_under_privacy_clients_that_do_not_fit_are_found_before_anything_is_drawn(monkeypatch, caplog):
    expected, tried = simulate(TinyTask(model=plain), private()), PrivateSteps.try_blank_rows

    def crowded(steps, clients):
        if clients > 5:
            raise ERRORS["device"]
        tried(steps, clients)

    monkeypatch.setattr(PrivateSteps, "try_blank_rows", crowded)
    found = simulate(TinyTask(model=plain), private())
    assert torch.allclose(vector(found), vector(expected), rtol=0.0, atol=1e-12)
    assert "8 clients at once; continuing with 4" in caplog.text


def test_under_privacy_nothing_is_drawn_anew_once_noise_was_drawn(monkeypatch):
    ready = prepare(TinyTask(model=plain), private(noise="secure"))
    with BatchedEngine(ready.task, ready.plan, ready.clients, num_workers=1, device=CPU) as engine:
        _trained(engine, ready.task, ready.plan)
        training = engine._training._training
        monkeypatch.setattr(training, "_finished", lambda *_: (_ for _ in ()).throw(ERRORS["device"]))
        with pytest.raises(EngineError, match="after noise was drawn"):
            _trained(engine, ready.task, ready.plan)


def test_a_device_on_which_eight_clients_do_not_fit_trains_fewer_at_once():
    plan = batched(training={"batch_size": 10, "precision": "float64"})
    expected = simulate(TinyTask(model=plain), plan)
    with on_a_pretended_device(most_elements=600):  # 8 hidden numbers for each of 40 rows, not of 80
        found = simulate(TinyTask(model=plain), plan)
    assert torch.allclose(vector(found), vector(expected), rtol=0.0, atol=1e-12)


def test_rows_for_which_a_device_has_no_room_are_an_error_that_says_so():
    with on_a_pretended_device(most_elements=300), pytest.raises(DeviceError, match="take fewer rows"):
        simulate(TinyTask(model=plain), build_plan(engine={"name": "loop"}))
