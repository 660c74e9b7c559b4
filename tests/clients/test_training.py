"""Local training, with and without privacy, against loops one can read."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from fedcore.data.shuffles import shuffled
from fedcore.errors import PlanError, PrivacyError
from fedcore.privacy.mechanisms import ROUNDING
from fedcore.seeding import derive_seed
from fedcore_clients.training.dp.per_example import PerExampleGradients
from fedcore_clients.training.train import train_locally
from tests.builders import TinyTask, build_client, build_local, build_plan, build_private_plan, build_request
from tests.models import lstm


class Plain(TinyTask):
    """Without dropout, so that a reference loop needs no random state."""

    def build_model(self):
        return self.model() if self.model else nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))


def reference_epochs(local, client, *, epochs, batch_size, rate, momentum=0.0, mu=0.0):
    """Mini-batch SGD as in a text book, on a copy of the model."""
    model = copy.deepcopy(local.model)
    start = [parameter.detach().clone() for parameter in model.parameters()]
    velocity = [torch.zeros_like(parameter) for parameter in model.parameters()]
    seed = derive_seed(0, "order", 1, 0, client.name)
    for rows in shuffled([seed], [len(client.training)], epochs=epochs)[0]:
        for batch in torch.from_numpy(rows).split(batch_size):
            inputs, targets = client.training.columns["inputs"][batch], client.training.columns["targets"][batch]
            loss = functional.cross_entropy(model(inputs.to(local.dtype)), targets)
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            with torch.no_grad():
                for index, parameter in enumerate(model.parameters()):
                    step = gradients[index] + mu * (parameter - start[index])
                    velocity[index] = momentum * velocity[index] + step
                    parameter.sub_(rate * velocity[index])
    return torch.cat([(p - s).detach().flatten() for p, s in zip(model.parameters(), start, strict=True)])


def moved(plan, task=None, client=None):
    local = build_local(plan, task=task or Plain())
    client = client or build_client()
    request = build_request(local.parameters.clone())
    update = train_locally(local, client.to(dtype=local.dtype, device=local.device), request)
    local.load(request.parameters)
    return local, client, update


@pytest.mark.parametrize(
    ("training", "arguments"),
    [
        ({}, {}),
        ({"local_epochs": 3, "batch_size": 7}, {"epochs": 3, "batch_size": 7}),
        ({"optimizer_options": {"momentum": 0.9}}, {"momentum": 0.9}),
        ({"local_epochs": 2}, {"mu": 0.5, "epochs": 2}),
    ],
)
def test_training_is_mini_batch_descent(training, arguments):
    algorithm = {"name": f"fedprox:{arguments.get('mu', 0)}"}
    plan = build_plan(training={"precision": "float64", **training}, algorithm=algorithm)
    local, client, update = moved(plan)
    expected = reference_epochs(local, client, **({"epochs": 1, "batch_size": 16, "rate": 0.1} | arguments))
    assert torch.allclose(update.values["update"], expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "NAdam", "Adadelta", "Adafactor"])
def test_any_optimizer_of_torch_may_be_named(name):
    _, _, update = moved(build_plan(training={"optimizer": name, "learning_rate": 0.01}))
    assert bool(torch.isfinite(update.values["update"]).all())
    assert update.values["update"].norm() > 0


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"optimizer": "Sdg"}, "no optimizer 'Sdg'"),
        ({"optimizer": "Optimizer"}, "no optimizer 'Optimizer'"),
        ({"optimizer": "LBFGS"}, "LBFGS"),
        ({"optimizer_options": {"momentun": 0.9}}, "SGD refuses them"),
        ({"optimizer_options": {"momentum": -1.0}}, "SGD refuses them"),
    ],
)
def test_an_optimizer_that_cannot_be_built_is_a_plan_error(training, message):
    with pytest.raises(PlanError, match=message):
        moved(build_plan(training=training))


def test_an_update_carries_the_public_count_and_the_training_loss():
    _, client, update = moved(build_plan())
    assert update.num_examples == len(client.training)
    assert update.metrics.counts == {"loss": 30.0}
    assert 0.0 < update.metrics.means()["loss"] < 2.0
    assert update.privacy_event is None


def test_training_twice_gives_equal_bits_also_with_dropout():
    one, two = (moved(build_plan(), task=TinyTask())[2] for _ in range(2))
    assert torch.equal(one.values["update"], two.values["update"])


def reference_private_step(local, client, *, noise_seed):
    """DP-SGD with full batches, one record at a time."""
    model, privacy = local.task.build_model().double(), local.privacy
    local.parameters.copy_to(model)
    generator = torch.Generator().manual_seed(noise_seed)
    start = torch.cat([p.detach().flatten() for p in model.parameters()])
    for _ in range(privacy.steps_per_round):
        total = torch.zeros_like(start)
        for row in range(len(client.training)):
            inputs = client.training.columns["inputs"][row : row + 1].double()
            loss = functional.cross_entropy(model(inputs), client.training.columns["targets"][row : row + 1])
            gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])
            total += gradient * min(1.0, privacy.clip_norm / float(gradient.norm()))
        noise = torch.randn(len(total), generator=generator, dtype=torch.float64)
        std = privacy.noise_multiplier * privacy.clip_norm * (1 + ROUNDING)
        step = (total + std * noise) / privacy.nominal_batch
        with torch.no_grad():
            flat = torch.cat([p.flatten() for p in model.parameters()]) - 0.1 * step
            nn.utils.vector_to_parameters(flat, model.parameters())
    return torch.cat([p.detach().flatten() for p in model.parameters()]) - start


def test_private_training_is_dp_sgd_one_record_at_a_time():
    plan = build_private_plan(
        privacy={"sampling_rate": 1.0, "steps_per_round": 3, "clip_norm": 0.3, "noise_multiplier": 0.7},
        training={"precision": "float64", "max_physical_batch": 7},
    )
    local, client, update = moved(plan)
    expected = reference_private_step(
        local, client, noise_seed=derive_seed(0, "test noise", "train", 1, 0, client.name)
    )
    assert torch.allclose(update.values["update"], expected, atol=1e-12, rtol=0)


def cnn():
    return nn.Sequential(
        nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 4, 2, padding=1), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(),
        nn.Linear(36, 2),
    )  # fmt: skip


class Tied(nn.Module):
    """One layer used twice."""

    def __init__(self):
        super().__init__()
        self.square, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, inputs):
        return self.head(torch.tanh(self.square(torch.tanh(self.square(inputs)))))


class Shift(nn.Module):
    """A constant buffer, such as a positional encoding."""

    def __init__(self):
        super().__init__()
        self.register_buffer("shift", torch.full((4,), 0.1), persistent=False)

    def forward(self, inputs):
        return inputs + self.shift


class Unknown(nn.Module):
    """A layer that Opacus has no rule for."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
        self.head = nn.Linear(4, 2)

    def forward(self, inputs):
        return self.head(inputs * self.scale)


def shifted():
    return nn.Sequential(Shift(), nn.Linear(4, 2))


def attention():
    from opacus.layers import DPMultiheadAttention

    class Attending(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention, self.norm = DPMultiheadAttention(4, 2, batch_first=True), nn.LayerNorm(4)
            self.head = nn.Linear(4, 2)

        def forward(self, inputs):
            tokens = torch.stack([inputs, inputs.flip(1)], dim=1)
            return self.head(self.norm(self.attention(tokens, tokens, tokens)[0]).mean(1))

    return Attending()


@pytest.mark.parametrize("model", [cnn, Tied, Unknown, shifted, lstm, attention])
def test_clipped_sums_equal_those_of_one_record_at_a_time_for_every_kind_of_layer(model):
    task = Plain(model=model)
    client = build_client(rows=9)
    network = model().double().train()
    plain = copy.deepcopy(network)
    per_example = PerExampleGradients(task, network, max_physical_batch=4)
    batch = {name: c.double() if c.is_floating_point() else c for name, c in client.training.columns.items()}
    expected = torch.zeros(sum(p.numel() for p in plain.parameters()), dtype=torch.float64)
    for row in range(9):
        loss = task.loss(plain, {name: column[row : row + 1] for name, column in batch.items()}).sum()
        gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(plain.parameters()))])
        expected += gradient * min(1.0, 0.2 / float(gradient.norm()))
    assert torch.allclose(per_example.clipped_sum(batch, 0.2), expected, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("model", [cnn, lstm, attention])
def test_an_empty_batch_still_adds_its_noise(model):
    plan = build_private_plan(privacy={"sampling_rate": 1e-12, "noise_multiplier": 2.0, "steps_per_round": 1})
    _, _, update = moved(plan, task=Plain(model=model))
    buffer = update.values["update"]
    # -rate * noise_multiplier * clip / nominal batch = 0.02 in every coordinate
    assert 0.5 * 0.02 < float(buffer.std()) < 2 * 0.02


def test_a_record_of_nan_changes_no_more_than_leaving_it_out():
    plan = build_private_plan(
        privacy={"sampling_rate": 1.0, "noise_multiplier": 0.0}, training={"precision": "float64"}
    )
    client = build_client(rows=10)
    broken = client.training.columns["inputs"].clone()
    broken[3] = float("nan")
    with_nan = client.training.__class__(columns={**client.training.columns, "inputs": broken})
    rest = client.training.select(torch.tensor([0, 1, 2, 4, 5, 6, 7, 8, 9]))
    updates = [
        moved(plan, client=client.__class__(name="client-0", training=rows, held_out=None))[2]
        for rows in (with_nan, rest)
    ]
    assert torch.allclose(updates[0].values["update"], updates[1].values["update"], atol=1e-14, rtol=0)


def test_secure_noise_differs_between_two_runs_with_equal_seeds_and_test_noise_does_not():
    for noise, same in (("secure", False), ("test", True)):
        plan = build_private_plan(privacy={"noise": noise, "sampling_rate": 1.0})
        one, two = (moved(plan)[2].values["update"] for _ in range(2))
        assert torch.equal(one, two) is same


def test_a_private_update_tells_no_training_metric_and_its_event():
    _, client, update = moved(build_private_plan())
    assert update.metrics.sums == {}
    assert update.privacy_event.steps == 2
    assert update.num_examples == len(client.training)


def test_where_the_number_of_records_is_secret_it_does_not_travel():
    _, _, update = moved(build_private_plan(privacy={"relation": "add-remove"}))
    assert update.num_examples is None


def test_privacy_has_a_step_length_of_its_own():
    one, two = (moved(build_private_plan(privacy={"learning_rate": rate}))[2].values["update"] for rate in (0.1, 0.2))
    default = moved(build_private_plan())[2].values["update"]
    assert torch.equal(one, default)
    assert not torch.equal(one, two)


@pytest.mark.parametrize(("noise", "repeatable"), [("secure", False), ("test", True)])
def test_what_dropout_draws_from_is_secret_where_the_noise_is(noise, repeatable):
    seeds = set()
    for _ in range(2):
        moved(build_private_plan(privacy={"noise": noise}))
        seeds.add(torch.initial_seed())
    assert (len(seeds) == 1) is repeatable
    assert (derive_seed(0, "train", 1, 0, build_client().name) in seeds) is repeatable


def test_a_loss_that_is_a_column_never_meets_a_row_of_factors():
    class Column(TinyTask):
        def loss(self, model, batch):
            return super().loss(model, batch)[:, None]

    task = Column()
    gradients = PerExampleGradients(task, task.build_model(), max_physical_batch=8)
    batch = task.load_data(None).batch(slice(0, 4))
    with pytest.raises(PrivacyError, match="one number each"):
        gradients.norms(batch)  # so that the probe refuses the loss before training
    assert gradients.clipped_sum(batch, 1.0, torch.ones(4)).count_nonzero() == 0
