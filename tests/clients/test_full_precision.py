"""Under privacy a record's contribution is computed in the type of the parameters, or not at all."""

import copy

import pytest
import torch
from torch import nn

from fedcore.errors import PrivacyError
from fedcore.privacy.mechanisms import ROUNDING
from fedcore_clients.training.dp import full_precision as arithmetic
from fedcore_clients.training.dp.full_precision import full_precision
from fedcore_clients.training.dp.per_example import PerExampleGradients
from fedcore_clients.training.train import train_locally
from fedcore_simulations import simulate
from tests.builders import TinyTask, build_client, build_local, build_plan, build_private_plan, build_request


class Autocast(nn.Module):
    """A helper computes in bfloat16, and gives float32 back, so that no layer around it sees it."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 64), nn.Linear(64, 2)

    def forward(self, inputs):
        return self.last(torch.tanh(self.helper(inputs)))

    def helper(self, inputs):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.first(inputs).to(inputs.dtype)


class Functional(Autocast):
    """The same without a layer's own forward pass."""

    def helper(self, inputs):
        weight, bias = self.first.weight, self.first.bias
        return nn.functional.linear(inputs.bfloat16(), weight.bfloat16(), bias.bfloat16()).to(inputs.dtype)


class Hidden(Autocast):
    """In a function of its own, which autograd's graph shows as one operation."""

    def helper(self, inputs):
        return Rounded.apply(self.first(inputs))


class Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values):
        return values.bfloat16().to(values.dtype)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def rows(dtype):
    generator = torch.Generator().manual_seed(0)
    inputs = 3 * torch.randn(24, 4, generator=generator)
    return {"inputs": inputs.to(dtype), "targets": torch.randint(0, 2, (24,), generator=generator)}


def contributions(model, clip_norm):
    """What each record alone adds to a clipped sum, in clip norms."""
    gradients = PerExampleGradients(TinyTask(), model, max_physical_batch=64)
    batch = rows(next(model.parameters()).dtype)
    alone = [{name: column[row : row + 1] for name, column in batch.items()} for row in range(24)]
    return torch.stack([gradients.clipped_sum(batch, clip_norm) for batch in alone]) / clip_norm


def test_half_precision_in_a_helper_moves_contributions_by_more_than_the_noise_covers(monkeypatch):
    torch.manual_seed(0)
    model = Autocast()
    layers = nn.Sequential(model.first, nn.Tanh(), model.last)
    exact = contributions(copy.deepcopy(layers).double(), 0.01)
    assert float((contributions(copy.deepcopy(layers), 0.01) - exact).norm(dim=1).max()) < ROUNDING
    monkeypatch.setattr(arithmetic, "_refuse", lambda *_, **__: None)
    assert float((contributions(model, 0.01) - exact).norm(dim=1).max()) > 10 * ROUNDING


@pytest.mark.parametrize("model", [Autocast, Functional, Hidden])
def test_a_helper_in_half_precision_is_refused_in_training(model):
    with pytest.raises(PrivacyError, match=r"computed in torch\.bfloat16, narrower than the parameters'"):
        simulate(TinyTask(model=model), build_private_plan())


def test_autocast_around_the_training_is_refused():
    local = build_local(build_private_plan())
    request = build_request(local.parameters.clone())
    with (
        torch.autocast("cpu", dtype=torch.bfloat16),
        pytest.raises(PrivacyError, match="autocast is on"),
    ):
        train_locally(local, build_client(), request)


@pytest.mark.parametrize("max_physical_batch", [256, 4])
def test_half_precision_that_begins_in_a_later_step_adds_nothing_and_is_reported(caplog, max_physical_batch):
    """It is not refused: a row could have caused it, and a refusal would say so."""

    class Late(Autocast):
        late = False

        def helper(self, inputs):
            return super().helper(inputs) if self.late else self.first(inputs)

    training = {"max_physical_batch": max_physical_batch}
    privacy = {"sampling_rate": 1.0, "noise_multiplier": 0.0, "isolation": "probed"}
    plan = build_private_plan(privacy=privacy, training=training)
    local = build_local(plan, task=TinyTask(model=Late))
    request = build_request(local.parameters.clone())
    assert train_locally(local, build_client(), request).values["update"].norm() > 0.0
    local.model.late = True
    assert train_locally(local, build_client(), request).values["update"].norm() == 0.0
    assert "cannot be computed (PrivacyError)" in caplog.text


def test_without_privacy_half_precision_is_allowed():
    assert simulate(TinyTask(model=Autocast), build_plan()).metrics["loss"] < 1.0


def precisions():
    return [setting.fp32_precision for setting in arithmetic._settings().values()]


@pytest.fixture
def lowered():
    """As some scripts begin."""
    torch.set_float32_matmul_precision("medium")
    yield precisions()
    torch.set_float32_matmul_precision("highest")


def test_products_are_exact_inside_and_the_process_keeps_its_own_settings(lowered):
    assert lowered[3] == "bf16"
    with full_precision():
        assert set(precisions()) == {"ieee"}
    assert precisions() == lowered
    assert torch.get_float32_matmul_precision() == "medium"


def test_private_training_is_exact_whatever_the_process_has_set(lowered):
    seen = set()

    class Notes(TinyTask):
        def loss(self, model, batch):
            seen.add((model.training, *precisions()))
            return super().loss(model, batch)

    local = build_local(build_private_plan(privacy={"isolation": "probed"}), task=Notes())
    train_locally(local, build_client(), build_request(local.parameters.clone()))
    assert seen == {(True, *["ieee"] * 6)}


class Lowers(TinyTask):
    def loss(self, model, batch):
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        return super().loss(model, batch)


@pytest.mark.usefixtures("lowered")
def test_a_loss_that_lowers_the_precision_of_products_is_refused():
    with pytest.raises(PrivacyError, match=r"lowered the precision of products \(torch.backends.cuda.matmul\)"):
        simulate(Lowers(), build_private_plan())


def test_an_environment_that_overrules_the_settings_is_refused(monkeypatch):
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    with pytest.raises(PrivacyError, match="NVIDIA_TF32_OVERRIDE"):
        simulate(TinyTask(), build_private_plan())
