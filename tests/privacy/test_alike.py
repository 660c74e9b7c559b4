"""A row draws the same numbers in a batch and alone, whatever it draws them with."""

import pytest
import torch
from torch import nn
from torch.distributions import Normal
from torch.nn import functional

from fedcore.privacy.linter.alike import AlikeForEveryRow

_ROWS = torch.linspace(-1.0, 1.0, 21, dtype=torch.float64).reshape(7, 3)


@pytest.mark.parametrize(
    "draw",
    [
        lambda rows: functional.dropout(rows, 0.5, training=True),
        lambda rows: functional.alpha_dropout(rows, 0.5, training=True),
        lambda rows: torch.native_dropout(rows, 0.5, train=True)[0],
        nn.RReLU(),
        lambda rows: rows + torch.randn_like(rows),
        lambda rows: rows + torch.rand(len(rows), 3, dtype=rows.dtype),
        lambda rows: rows + torch.randint(0, 9, (len(rows), 1)),
        lambda rows: rows + torch.empty_like(rows).exponential_(),
        lambda rows: torch.normal(rows, 1.0),
        lambda rows: torch.bernoulli(torch.sigmoid(rows)),
        lambda rows: torch.poisson(rows.exp()),
        lambda rows: torch.multinomial(torch.softmax(rows, 1), 2).to(rows.dtype),
        functional.gumbel_softmax,
        lambda rows: Normal(rows, 1.0).rsample(),
        lambda rows: functional.dropout(rows, 0.5, training=True) + torch.randn_like(rows),
    ],
)
def test_a_row_draws_alone_what_it_draws_in_a_batch(draw):
    with AlikeForEveryRow(len(_ROWS)):
        together = draw(_ROWS)
    for row in range(len(_ROWS)):
        with AlikeForEveryRow(1):
            assert torch.equal(together[row], draw(_ROWS[row : row + 1])[0])


def test_one_pass_draws_anew_at_each_draw():
    with AlikeForEveryRow(2):
        first, second = torch.randn(2, 8), torch.randn(2, 8)
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first, second)


def test_a_permutation_of_the_batch_is_left_as_it_is():
    with AlikeForEveryRow(len(_ROWS)):
        assert not torch.equal(_ROWS[torch.randperm(len(_ROWS))], _ROWS)


def test_torchs_generator_is_left_as_it_was():
    torch.manual_seed(3)
    expected = torch.randn(4)
    torch.manual_seed(3)
    with AlikeForEveryRow(2):
        torch.randn(2, 5)
    assert torch.equal(torch.randn(4), expected)
