"""The batched engine on a device: the numbers of the CPU, few kernels, and nothing that a step waits for."""

import pytest
import torch
from torch import nn

from fedcore.data.examples import Examples
from fedcore.errors import PlanError
from fedcore.privacy.noise import SecureRandomness
from fedcore_clients.training.local_model import Client
from fedcore_server.rounds.rounds import close_round, init_state, plan_round
from fedcore_simulations import simulate
from fedcore_simulations.engines.batched.engine import BatchedEngine
from tests.builders import TinyTask, build_plan, build_private_plan
from tests.models import plain
from tests.pretend_device import PretendedDevice, on_a_pretended_device
from tests.simulations.test_batched_engine import AUDIT, Normalised, Tied, vector

CLIENTS, ROWS, BATCH = 3, 30, 10
SECTIONS = {
    "fedavg": {},
    "momentum": {"training": {"optimizer_options": {"momentum": 0.9}}},
    "adam": {"training": {"optimizer": "Adam", "learning_rate": 0.01}},
    "scaffold": {"algorithm": {"name": "scaffold"}},
    "fedprox": {"algorithm": {"name": "fedprox"}},
    "reweighing": {"algorithm": {"name": "reweighing"}, "audit": AUDIT},
    "int8": {"aggregation": {"rule": "uniform", "encode": ["int8"]}},
    "trimmed mean": {"aggregation": {"rule": "trimmed-mean:0.2"}},
    "client": {
        "privacy": {"unit": "client", "noise_multiplier": 1.0, "noise": "test"},
        "aggregation": {"rule": "uniform"},
    },
}
FEDERATION = {"clients": 6, "rounds": 2, "quorum": 5, "partition": "dirichlet:0.5"}


def plan_of(sections, build=build_plan):
    return build(
        **{**sections, "training": {"precision": "float64", "batch_size": 7, **sections.get("training", {})}},
        engine={"name": "batched"},
        federation=FEDERATION,
    )


def on_both(plan, model=plain):
    """The model from the CPU and from the device."""
    expected = simulate(TinyTask(model=model), plan)
    with on_a_pretended_device() as pretended:
        found = simulate(TinyTask(model=model), plan)
    assert (found.summary["engine"], not pretended.refused) == ("batched", True)
    return vector(expected), vector(found)


@pytest.mark.parametrize("sections", SECTIONS.values(), ids=SECTIONS)
def test_every_kind_of_plan_gives_the_model_of_the_cpu(sections):
    expected, found = on_both(plan_of(sections))
    assert torch.allclose(found, expected, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("model", [Normalised, Tied])
def test_every_kind_of_layer_gives_the_model_of_the_cpu(model):
    expected, found = on_both(plan_of({}), model)
    assert torch.allclose(found, expected, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("sampling_rate", [0.02, 0.5])
def test_a_private_plan_gives_the_model_of_the_cpu(sampling_rate):
    expected, found = on_both(plan_of({"privacy": {"sampling_rate": sampling_rate}}, build_private_plan))
    assert torch.allclose(found, expected, rtol=0.0, atol=1e-12)


def test_a_device_without_float64_is_refused_with_the_reason():
    with on_a_pretended_device(float64=False), pytest.raises(PlanError, match="in float64, which pretended"):
        simulate(TinyTask(model=plain), build_plan(engine={"name": "batched"}))


def convolutions():
    """The layers of the benchmarks' W1, on small images."""
    return nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(6 * 4, 8), nn.ReLU(), nn.Linear(8, 2)),
    )


def perceptron():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 8), nn.ReLU(), nn.Linear(8, 2))


class Counted:
    """A round of the engine and of the server on a device, after one that warmed up."""

    def __init__(self, plan, model, *, clients=CLIENTS):
        task, generator = TinyTask(model=model), torch.Generator().manual_seed(0)
        owners = []
        for number in range(clients):
            inputs = torch.randn(ROWS, 3, 8, 8, generator=generator)
            rows = Examples(columns={"inputs": inputs, "targets": torch.randint(0, 2, (ROWS,), generator=generator)})
            owners.append(Client(name=f"client-{number}", training=rows, held_out=None))
        plan, state = plan.updated(federation={"clients": clients}), init_state(task, plan)
        self.num_bytes = state.parameters.buffer.nbytes
        with (
            PretendedDevice() as device,
            BatchedEngine(task, plan, owners, num_workers=1, device=device.device) as engine,
        ):
            for _ in range(2):
                device.reset()
                request = plan_round(state, plan, engine.available())
                blocks = list(engine.train(request))
                self.kernels, self.reads = device.kernels.total(), device.reads.total()
                self.writes, self.bytes_written = device.writes.total(), device.bytes_written
                state, report = close_round(state, plan, request, iter(blocks))
                assert report.committed
        self.bytes_read, self.all_reads = device.bytes_read, device.reads.total()
        self.blocks, self.device = blocks, device


def local(epochs):
    return build_plan(training={"local_epochs": epochs, "batch_size": BATCH})


def private(steps):
    return build_private_plan(privacy={"steps_per_round": steps, "noise": "secure", "sampling_rate": 0.5})


@pytest.mark.parametrize(("plan", "model"), [(local, convolutions), (private, perceptron)])
def test_a_step_of_the_cohort_makes_under_a_hundred_kernels_and_no_step_waits(plan, model):
    short, long = (Counted(plan(each), model) for each in (1, 4))
    steps = 3 * ROWS // BATCH if plan is local else 3
    per_step = (long.kernels - short.kernels) / steps
    print(f"{per_step:.0f} kernels a step of the cohort; {long.reads} read and {long.writes} writes a round")
    assert 0 < per_step < 100
    assert short.reads == long.reads == 1  # the losses
    more = (long.writes - short.writes) / steps
    assert more == (0 if plan is local else 2)  # a private step brings its batch and its noise


def test_what_a_step_costs_does_not_grow_with_the_cohort():
    few, many = (Counted(local(2), convolutions, clients=clients) for clients in (2, 7))
    assert (few.kernels, few.reads, few.writes) == (many.kernels, many.reads, many.writes)


def test_updates_stay_on_the_device_and_one_sum_leaves_it():
    counted = Counted(local(1), convolutions, clients=7)
    (block,) = counted.blocks
    assert block.values["update"].device == counted.device.device
    assert counted.all_reads == 3  # losses, norms, and the sum
    assert counted.bytes_read == 2 * counted.num_bytes + 7 * 4 + 7 * 8  # a sum in float64
    rows = 7 * ROWS * 16  # of each its place and its weight
    assert counted.bytes_written <= counted.num_bytes + rows + 7 * (4 + 8)  # the model, once


def test_noise_on_a_device_comes_from_the_cryptographic_generator_and_is_new_for_every_client_and_step(monkeypatch):
    drawn = []
    normal = SecureRandomness.normal
    monkeypatch.setattr(SecureRandomness, "normal", lambda *given: drawn.append(normal(*given)) or drawn[-1])
    size = Counted(private(2), perceptron).num_bytes // 4
    numbers = torch.cat(drawn)
    assert len(numbers) == 2 * 2 * CLIENTS * size  # two rounds of two steps
    assert len(numbers.unique()) > 0.999 * len(numbers)


class Words(TinyTask):
    """Rows of four tokens of five."""

    def build_model(self):
        return nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(12, 2))

    def load_data(self, path):
        rows = super().load_data(path)
        tokens = rows.columns["inputs"].abs().long().clamp(max=4)
        return Examples(columns={**rows.columns, "inputs": tokens}, attributes=rows.attributes)


def test_a_token_that_there_is_not_costs_its_client_only():
    from fedcore_simulations.preparation import prepare

    plan = build_plan(engine={"name": "batched"}, federation={"clients": 4, "rounds": 1})
    ready = prepare(Words(), plan)
    owners, state = list(ready.clients), init_state(ready.task, ready.plan)
    owners[1].training.columns["inputs"][0, 0] = 5
    with (
        PretendedDevice() as device,
        BatchedEngine(ready.task, ready.plan, owners, num_workers=1, device=device.device) as engine,
    ):
        request = plan_round(state, ready.plan, engine.available())
        _, report = close_round(state, ready.plan, request, engine.train(request))
    assert [each.client for each in report.rejected] == [owners[1].name]
    assert len(report.counted) == 3
