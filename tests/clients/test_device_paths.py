"""What a device other than the CPU would meet, on one that is pretended."""

import pytest
import torch
from torch import nn

from fedcore.errors import DeviceError, TaskError
from fedcore.messages import EvaluateRequest
from fedcore.parameters import Parameters
from fedcore.task_families import LanguageModelling, Reconstruction, Regression
from fedcore_clients.training.evaluation import evaluate_locally
from fedcore_clients.training.local_model import LocalModel
from fedcore_clients.training.train import train_locally
from fedcore_simulations import simulate
from tests.builders import TinyTask, build_client, build_local, build_plan, build_private_plan, build_request
from tests.models import Recurrent, lstm, plain
from tests.pretend_device import PretendedDevice, on_a_pretended_device

PLANS = {
    "none": build_plan(audit={"sensitive": ["sex"]}),
    "record": build_private_plan(audit={"sensitive": ["sex"]}),
    "record, noisy evaluation": build_private_plan(privacy={"evaluation_noise_multiplier": 1.0}),
    "client": build_plan(
        privacy={"unit": "client", "noise_multiplier": 1.0, "noise": "test"}, aggregation={"rule": "uniform"}
    ),
}


def weights(result):
    return torch.cat([tensor.flatten() for tensor in result.model.state_dict().values()])


@pytest.mark.parametrize("float64", [True, False])
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_a_simulation_on_a_second_device_gives_the_model_of_the_cpu(plan, float64):
    plan = plan.updated(engine={"name": "loop"})
    expected = simulate(TinyTask(model=plain), plan)
    with on_a_pretended_device(float64=float64) as pretended:
        found = simulate(TinyTask(model=plain), plan)
    assert pretended.kernels.total() > 0
    # Where a device has no float64, Opacus' hooks sum on the CPU, in another order.
    assert torch.allclose(weights(found), weights(expected), atol=0.0 if float64 else 1e-7, rtol=0)
    assert found.metrics == expected.metrics
    assert found.summary["audit_verdict"] == expected.summary["audit_verdict"]


class Numbers(Regression):
    name = "numbers"
    build_model = load_data = None


class Tokens(LanguageModelling):
    name = "tokens"
    build_model = load_data = None


class Images(Reconstruction):
    name = "images"
    build_model = load_data = None


@pytest.mark.parametrize(
    ("task", "model", "targets"),
    [
        (Numbers(), nn.Linear(4, 1), torch.randn(6)),
        (Tokens(), nn.Sequential(nn.Unflatten(1, (4, 1)), nn.Linear(1, 7)), torch.randint(0, 7, (6, 4))),
        (Images(), nn.Linear(4, 4), torch.zeros(6)),
    ],
    ids=["regression", "language", "reconstruction"],
)
def test_every_family_measures_without_float64_on_the_device(task, model, targets):
    batch = {"inputs": torch.randn(6, 4), "targets": targets}
    with torch.no_grad():
        expected = task.measure(model, batch)
        with PretendedDevice(float64=False) as pretended:
            there = {name: column.to(pretended.device) for name, column in batch.items()}
            assert task.measure(model.to(pretended.device), there) == expected


def copies_in_training(plan, *, rows=30):
    """Reads and writes of one client in one round."""
    task = TinyTask(model=plain)
    with PretendedDevice() as pretended:
        local = LocalModel(task, plan, pretended.device)
        client = build_client(rows=rows).to(dtype=local.dtype, device=local.device)
        request = build_request(Parameters.from_model(plain()))
        pretended.reset()
        train_locally(local, client, request)
        return pretended.reads.total(), pretended.writes.total()


@pytest.mark.parametrize(("batch_size", "epochs"), [(16, 1), (4, 1), (4, 3)])
def test_without_privacy_no_step_waits_for_the_device(batch_size, epochs):
    plan = build_plan(training={"batch_size": batch_size, "local_epochs": epochs})
    assert copies_in_training(plan) == (2, 2)  # the loss and the update; the model, and the orders of the rows


@pytest.mark.parametrize("steps", [1, 5])
def test_a_private_step_reads_once_and_writes_twice(steps):
    plan = build_private_plan(privacy={"steps_per_round": steps, "sampling_rate": 1.0})
    # Read: whether a record is broken. Written: the batch and the noise.
    assert copies_in_training(plan) == (steps + 1, 2 * steps + 1)


def test_a_device_without_float64_is_refused_for_a_plan_in_float64():
    with (
        PretendedDevice(float64=False) as pretended,
        pytest.raises(DeviceError, match=r"no float64; set training\.prec"),
    ):
        LocalModel(TinyTask(), build_plan(training={"precision": "float64"}), pretended.device)


@pytest.mark.parametrize("model", [None, plain])  # the second is tried by the batched engine
def test_a_simulation_leaves_the_devices_random_state_as_it_was(model):
    with on_a_pretended_device() as pretended:
        module = torch.get_device_module(pretended.device)
        module.manual_seed(5)
        before = module.get_rng_state()
        simulate(TinyTask(model=model), build_plan())
        assert torch.equal(module.get_rng_state(), before)


def flattened_as_cudnn_does(layer):
    """Move the weights into a new piece of memory."""
    for weight in layer._flat_weights:
        weight.data = weight.data.clone()


def trained(task, plan=None):
    local, client = build_local(plan, task=task), build_client()
    received = local.parameters.clone()
    update = train_locally(local, client, build_request(received))
    again = train_locally(local, client, build_request(received))
    return update.values["update"], again.values["update"]


def test_recurrent_layers_train_in_the_buffer_also_where_their_weights_would_be_moved(monkeypatch):
    expected, _ = trained(TinyTask(model=Recurrent))
    monkeypatch.setattr(nn.RNNBase, "flatten_parameters", flattened_as_cudnn_does)
    found, again = trained(TinyTask(model=Recurrent))
    assert torch.equal(found, expected)
    assert torch.equal(again, expected)
    assert float(found.abs().min()) > 0


class Moves(nn.Module):
    """Takes a tensor out of the buffer."""

    def __init__(self, how, when=True):
        super().__init__()
        self.layer, self.how, self.when = nn.Linear(4, 2), how, when
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, inputs):
        if self.training == self.when:
            self.how(self)
        return self.layer(inputs + self.mean)


def moves_data(model):
    model.layer.weight.data = model.layer.weight.data.clone()


def replaces_the_parameter(model):
    model.layer.weight = nn.Parameter(model.layer.weight.detach().clone())


def drops_the_gradients(model):
    model.zero_grad()


def replaces_a_buffer(model):
    model.mean = model.mean + 0.5


@pytest.mark.parametrize("how", [moves_data, replaces_the_parameter, drops_the_gradients])
def test_a_model_that_leaves_the_buffer_while_it_trains_is_refused(how):
    with pytest.raises(TaskError, match=r"the model's tensor 'layer.weight'.* was replaced"):
        trained(TinyTask(model=lambda: Moves(how)))


def test_a_buffer_that_is_replaced_in_training_is_refused():
    with pytest.raises(TaskError, match=r"the model's tensor 'mean'.* was replaced"):
        trained(TinyTask(model=lambda: Moves(replaces_a_buffer)))


@pytest.mark.parametrize("how", [moves_data, drops_the_gradients, replaces_a_buffer])
def test_under_privacy_a_model_that_leaves_the_buffer_is_brought_back_in_every_step(how):
    """And not refused: a row could have caused it."""
    privacy = {"sampling_rate": 1.0, "isolation": "probed"}  # by construction the code is not run at all
    plan = build_private_plan(privacy=privacy, training={"max_physical_batch": 100})
    expected, _ = trained(TinyTask(model=lambda: Moves(lambda _: None)), plan)
    found, again = trained(TinyTask(model=lambda: Moves(how)), plan)
    if how is not replaces_a_buffer:  # which changes what the layer is given
        assert torch.equal(found, expected)
    assert torch.equal(again, found)
    assert float(found[:10].abs().min()) > 0  # then the buffer


def test_what_an_evaluation_moved_is_brought_back_before_the_next_client_trains():
    local, client = build_local(task=TinyTask(model=lambda: Moves(moves_data, when=False))), build_client()
    received = local.parameters.clone()
    expected = train_locally(local, client, build_request(received)).values["update"]
    evaluate_locally(local, client, EvaluateRequest(round=1, attempt=0, cohort=(), parameters=received))
    found = train_locally(local, client, build_request(received)).values["update"]
    assert torch.equal(found, expected)
    assert float(expected.abs().max()) > 0


class Crowded(TinyTask):
    """A device that has room for few rows at once."""

    def __init__(self, *, model=plain, room=4):
        super().__init__(model=model)
        self.room, self.tried = room, []

    def loss(self, model, batch):
        losses = super().loss(model, batch)
        self.check(model, batch)
        return losses

    def measure(self, model, batch):
        self.check(model, batch)
        return super().measure(model, batch)

    def check(self, model, batch):
        if next(model.parameters()).dtype == torch.float32:
            self.tried.append(len(batch["inputs"]))
            if len(batch["inputs"]) > self.room:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.parametrize("model", [plain, lstm])
def test_the_same_drawn_batch_is_tried_again_with_fewer_rows_at_once_and_the_noise_drawn_once(model):
    privacy = {"sampling_rate": 1.0, "steps_per_round": 2, "isolation": "probed"}
    crowded = Crowded(model=model)
    found, again = trained(crowded, build_private_plan(privacy=privacy))
    assert crowded.tried[:4] == [30, 15, 7, 3]
    assert set(crowded.tried[3:]) == {3}  # the lower limit stays
    expected, _ = trained(
        TinyTask(model=model), build_private_plan(privacy=privacy, training={"max_physical_batch": 3})
    )
    assert torch.equal(found, expected)
    assert torch.equal(again, expected)


def test_a_device_that_runs_out_of_memory_gives_the_update_of_fewer_rows_at_once():
    privacy, client = {"sampling_rate": 1.0}, build_client()
    with PretendedDevice(most_elements=130) as small:  # of 8 hidden numbers for each of 30 rows: not of 15
        local = LocalModel(TinyTask(model=plain), build_private_plan(privacy=privacy), small.device)
        rows = client.to(dtype=local.dtype, device=local.device)
        found = train_locally(local, rows, build_request(Parameters.from_model(local.model))).values["update"]
    fewer = build_local(build_private_plan(privacy=privacy, training={"max_physical_batch": 15}), task=local.task)
    expected = train_locally(fewer, client, build_request(fewer.parameters.clone())).values["update"]
    assert torch.equal(found, expected)


def test_a_device_with_no_room_for_one_row_is_an_error():
    with pytest.raises(DeviceError, match="too little memory for one row"):
        trained(Crowded(room=0), build_private_plan(privacy={"isolation": "probed"}))


def test_without_privacy_a_batch_is_not_split_and_the_error_says_what_to_lower():
    with pytest.raises(DeviceError, match=r"ran out of memory; lower training\.batch-size"):
        simulate(Crowded(), build_plan(federation={"clients": 2}))


@pytest.mark.parametrize(
    "plan",
    [
        build_plan(audit={"sensitive": ["sex"], "vocabularies": {"sex": ["female", "male", "unknown"]}}),
        PLANS["record, noisy evaluation"],
    ],
    ids=["exact", "noisy"],
)
def test_an_evaluation_that_does_not_fit_is_done_with_fewer_rows_at_once(plan):
    def evaluated(task):
        local = build_local(plan, task=task)
        request = EvaluateRequest(round=1, attempt=0, cohort=(), parameters=local.parameters.clone())
        return evaluate_locally(local, build_client(), request)

    found, expected = evaluated(Crowded()), evaluated(TinyTask(model=plain))
    assert found.metrics.means() == pytest.approx(expected.metrics.means(), rel=1e-6)
    assert found.tables == expected.tables


def test_a_device_that_fails_is_an_error_that_says_to_start_anew():
    class Fails(TinyTask):
        def loss(self, model, batch):
            if model.training:
                raise torch.AcceleratorError("CUDA error: device-side assert triggered\nCUDA kernel errors might be")
            return super().loss(model, batch)

    with pytest.raises(DeviceError, match=r"cpu failed \(CUDA error: device-side assert triggered\).*start another"):
        simulate(Fails(), build_plan())
