"""A record whose gradient cannot be computed adds zero, and moves no other contribution, not even by rounding."""

import pytest
import torch
from torch import nn

from fedcore_clients.training.dp.ghost_shares import LookedUp
from fedcore_clients.training.dp.per_example import PerExampleGradients
from tests.builders import TinyTask

ROWS, BAD, WIDTH = 200, 1, 33


def cancelling(*, hooked):
    """Weights, such as a server may choose, whose products cancel: what is left is rounding, clipped to full length."""
    generator = torch.Generator().manual_seed(5395)
    model = nn.Sequential(nn.Linear(4, WIDTH), nn.Linear(WIDTH, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.rand(1, 4, generator=generator).expand(WIDTH, 4))
        model[0].bias.fill_(1.0)
        scores = torch.randn(WIDTH, generator=generator)
        half = WIDTH // 2
        scores[WIDTH - half :] = -scores[:half][torch.randperm(half, generator=generator)]
        scores[half] = 0.0
        model[1].weight[0], model[1].weight[1] = scores * 1e12, 0.0
        model[1].bias.zero_()
    return PerExampleGradients(TinyTask(), Odd(model) if hooked else model, max_physical_batch=256)


class Odd(nn.Module):
    """A layer that has no rule of its own, so that Opacus' hooks are taken."""

    def __init__(self, model):
        super().__init__()
        self.model, self.none = model, nn.InstanceNorm1d(1, affine=True)

    def forward(self, inputs):
        return self.model(inputs)


def clipped(gradients, label):
    rows = TinyTask(rows=ROWS, seed=3).load_data(None).columns
    targets = torch.ones_like(rows["targets"])
    targets[BAD] = label
    return gradients.clipped_sum({"inputs": rows["inputs"], "targets": targets}, 0.01)


@pytest.mark.parametrize("hooked", [False, True])
def test_a_record_that_fails_is_as_one_with_no_gradient(hooked):
    gradients = cancelling(hooked=hooked)
    assert gradients.one_pass is not hooked
    assert torch.equal(clipped(gradients, 7), clipped(gradients, -100))


def test_a_token_outside_of_the_table_is_refused_before_its_gradient_is_another_records():
    with pytest.raises(IndexError, match="another record's"):
        LookedUp(torch.zeros(5, 3), torch.tensor([[1, 5]]), torch.ones(1, 2, 3))
