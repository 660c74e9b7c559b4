"""What one record really moves the clipped sum by, in numbers as a computer has them."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from fedcore.privacy.mechanisms import ROUNDING
from fedcore_clients import per_example
from fedcore_clients.per_example import PerExampleGradients
from tests.builders import TinyTask, build_local, build_private_plan

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


def cancelling(dtype):
    """Weights that a hostile server could choose: the logits are sums that cancel, so that rounding alone decides."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 2)).to(dtype)
    with torch.no_grad():
        model[0].weight[:] = torch.randn(1, 64)  # all hidden units are equal
        model[0].bias.fill_(10.0)
        half = torch.randn(128)
        model[2].weight[0] = torch.cat([half, -half])[torch.randperm(256)] * 1e30
        model[2].weight[1].zero_()
        model[2].bias.zero_()
    return model


def moved_by_one_more(dtype, multiple):
    """The most clip norms by which a record more moves the sum, over many numbers of records."""
    gradients = PerExampleGradients(TinyTask(), cancelling(dtype), max_physical_batch=256, multiple=multiple)
    batch = {"inputs": torch.randn(270, 64).to(dtype), "targets": torch.zeros(270, dtype=torch.int64)}

    def summed(rows):
        return gradients.clipped_sum({name: column[rows] for name, column in batch.items()}, 1.0)

    sizes = [*range(2, 40), *range(58, 70), *range(122, 132), *range(250, 268)]
    return max(float((summed(slice(0, n)) - summed(slice(1, n))).norm()) for n in sizes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_record_more_does_not_change_how_the_others_are_rounded(dtype):
    """Which kernel multiplies matrices depends on the number of rows; where it is a secret, rows are padded."""
    local = build_local(build_private_plan(privacy={"relation": "add-remove"}))
    assert moved_by_one_more(dtype, local.multiple) <= 1.0 + ROUNDING


def test_where_the_number_of_records_is_public_no_rows_are_padded():
    assert build_local(build_private_plan()).multiple == 1
