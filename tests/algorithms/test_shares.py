"""Shares of groups and clients that follow a risk."""

import numpy as np
import pytest
from scipy import optimize

from fedcore.algorithms.fairfed import moved_from_mean
from fedcore.algorithms.simplex import ascended, projected


@pytest.mark.parametrize("seed", range(20))
def test_the_projection_is_the_nearest_point_of_the_simplex(seed):
    point = np.random.default_rng(seed).normal(size=5) * 2
    found = optimize.minimize(
        lambda x: ((x - point) ** 2).sum(),
        np.full(5, 0.2),
        bounds=[(0, 1)] * 5,
        constraints={"type": "eq", "fun": lambda x: x.sum() - 1},
        options={"ftol": 1e-14},
    )
    assert projected(point) == pytest.approx(found.x, abs=1e-5)
    assert projected(point).sum() == pytest.approx(1)


def test_who_fares_worse_gets_a_larger_share():
    shares = ascended({"a": 0.5, "b": 0.5}, {"a": 1.0, "b": 3.0}, step=0.1)
    assert shares == pytest.approx({"a": 0.4, "b": 0.6})
    assert ascended({"a": 0.5, "b": 0.5}, {"b": 100.0}, step=1.0) == {"a": 0.0, "b": 1.0}


def test_a_client_far_from_the_federations_gap_counts_less():
    shares = moved_from_mean({"a": 0.5, "b": 0.3, "c": 0.2}, {"a": 0.2, "b": 0.1}, step=1.0)
    total = 0.45 + 0.35 + 0.2
    assert shares == pytest.approx({"a": 0.45 / total, "b": 0.35 / total, "c": 0.2 / total})


def test_a_share_is_never_below_nothing_and_all_are_never_nothing():
    assert moved_from_mean({"a": 0.5, "b": 0.5}, {"a": 0.0, "b": 9.0}, step=5.0) == {"a": 1.0, "b": 0.0}
    assert moved_from_mean({"a": 0.0, "b": 0.0}, {"a": 0.0, "b": 0.0}, step=5.0) == {"a": 0.0, "b": 0.0}
    assert moved_from_mean({"a": 1.0}, {}, step=1.0) == {"a": 1.0}


@pytest.mark.parametrize("losses", [{"a": 1e18, "b": 1.0}, {"a": 1e300, "b": 1e300}, {"a": float(2**60)}, {}])
def test_losses_beyond_belief_leave_shares_on_the_simplex(losses):
    shares = ascended({"a": 0.5, "b": 0.5}, losses, step=0.1)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert min(shares.values()) >= 0.0


def test_without_clients_there_are_no_shares():
    assert ascended({}, {}, step=0.1) == {}
