"""What one record really moves the clipped sum by, in numbers as a computer has them."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from fedcore.privacy.mechanisms import ROUNDING
from fedcore_clients.training.dp import per_example
from fedcore_clients.training.dp.per_example import PerExampleGradients
from fedcore_clients.training.train import train_locally
from tests.builders import TinyTask, build_client, build_local, build_private_plan, build_request

_CLIP_NORMS = [1e-8, 1e-6, 1e-4, 1e-2, 1.0, 1e3]


class ScaledLoss(TinyTask):
    """Cross-entropy times a factor, for gradients near the ends of float32's range."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def loss(self, model, batch):
        return functional.cross_entropy(model(batch["inputs"]), batch["targets"], reduction="none") * self.factor


def dense():
    return nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))


def convolving():
    return nn.Sequential(
        nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 8, 2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2)
    )


def over_positions():
    return nn.Sequential(
        nn.Unflatten(1, (4, 1)), nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, 40), nn.Flatten(), nn.Linear(160, 2)
    )


def moved(gradients, rows, clip_norm):
    """By how many clip norms the sum differs when the first record is left out."""
    batch = TinyTask(rows=rows).load_data(None).batch(slice(None))
    with_it = gradients.clipped_sum(batch, clip_norm).double()
    without = gradients.clipped_sum({name: column[1:] for name, column in batch.items()}, clip_norm).double()
    return float((with_it - without).norm()) / clip_norm


@pytest.mark.parametrize("clip_norm", _CLIP_NORMS)
@pytest.mark.parametrize("one_pass", [True, False])
@pytest.mark.parametrize("model", [dense, convolving, over_positions])
@pytest.mark.parametrize("loss_factor", [1.0, 1e-36, 1e30])
@pytest.mark.parametrize("weight_factors", [(1.0, 1.0), (1e37, 1e-36), (1e30, 1e-30), (1e-30, 1e30)])
def test_a_record_moves_the_sum_by_no_more_than_the_clip_norm(
    *, model, one_pass, clip_norm, loss_factor, weight_factors, monkeypatch
):
    """Large activations beside small weights are how a hostile server moves factors out of float32's range."""
    torch.manual_seed(0)
    made, (first_factor, last_factor) = model(), weight_factors
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(first_factor)
        made[-1].weight.mul_(last_factor / first_factor)
    if not one_pass:
        monkeypatch.setattr(per_example, "rules_of", lambda _: None)
    gradients = PerExampleGradients(ScaledLoss(loss_factor), made, max_physical_batch=64)
    assert gradients.one_pass is one_pass
    assert moved(gradients, 40, clip_norm) <= 1.0 + ROUNDING


@pytest.mark.parametrize("model", [dense, convolving, over_positions])
def test_rounding_does_not_grow_with_the_records_worked_on_at_once(model):
    torch.manual_seed(0)
    gradients = PerExampleGradients(ScaledLoss(1e6), model(), max_physical_batch=8192)
    assert moved(gradients, 8192, 0.01) <= 1.0 + 1e-9


class ManyClasses(TinyTask):
    labels = tuple(f"class {number}" for number in range(200))


@pytest.mark.parametrize("over_a_position", [False, True])
@pytest.mark.parametrize("clip_norm", [1e-8, 1e-6])
def test_a_gradient_whose_factors_underflow_when_squared_is_not_too_long(clip_norm, over_a_position):
    """In float64: the output's gradient is about 1e-162, the input 1e153, and their product within reach."""
    shape = [nn.Unflatten(1, (1, 4))] if over_a_position else []
    made = nn.Sequential(
        *shape, nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 200), *([nn.Flatten()] if shape else [])
    ).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.zero_()
        made[-2 if shape else -1].bias[0] = 373.0
        made[len(shape)].weight[:, 0] = 1.2e153
    gradients = PerExampleGradients(ManyClasses(), made, max_physical_batch=64)
    batch = {"inputs": torch.zeros(6, 4, dtype=torch.float64), "targets": torch.zeros(6, dtype=torch.int64)}
    batch["inputs"][:, 0] = 1.0
    with_it = gradients.clipped_sum(batch, clip_norm)
    without = gradients.clipped_sum({name: column[1:] for name, column in batch.items()}, clip_norm)
    assert float((with_it - without).norm()) / clip_norm <= 1.0 + ROUNDING


class Tempered(nn.Module):
    """A parameter that is a number."""

    def __init__(self):
        super().__init__()
        self.layer, self.temperature = nn.Linear(4, 2), nn.Parameter(torch.tensor(2.0))

    def forward(self, inputs):
        return self.layer(inputs) / self.temperature


def test_a_parameter_that_is_a_number_is_trained_too():
    local = build_local(
        build_private_plan(privacy={"noise_multiplier": 0.0, "sampling_rate": 1.0}), task=TinyTask(model=Tempered)
    )
    update = train_locally(local, build_client(), build_request(local.parameters.clone())).values["update"]
    assert all(float(view.abs().max()) > 0.0 for _, view in local.parameters.layout.views(update))
