"""Robust rules, against the formulas of their papers, and against hostile clients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import trim_mean

from fedcore.aggregation.contract import Block
from fedcore.aggregation.registry import RULES
from fedcore.errors import PlanError
from fedcore.method.method import Method
from fedcore_simulations import simulate
from tests.builders import TinyTask, build_plan

RADIUS, SMOOTHING = 2.0, 0.1
ROBUST = {
    "median": {},
    "krum": {},
    "multi-krum": {},
    "geometric-median": {"smoothing": SMOOTHING},
    "centered-clipping": {"radius": RADIUS, "iterations": 3},
}


def scores(updates, f):
    """Allouah et al. 2023, section 3: over the n - f nearest updates, the update itself included."""
    squared = ((updates[:, None] - updates[None]) ** 2).sum(2)
    return np.sort(squared, axis=1)[:, : len(updates) - f].sum(1)


def krum(updates, f):
    return updates[np.argmin(scores(updates, f))]


def multi_krum(updates, f):
    return updates[np.argsort(scores(updates, f))[: len(updates) - f]].mean(0)


def geometric_median(updates, f):
    """Pillutla et al. 2022, algorithm 2, from zero."""
    point = np.zeros(updates.shape[1])
    for _ in range(3000):
        weights = 1 / np.maximum(SMOOTHING, np.linalg.norm(updates - point, axis=1))
        point = (weights[:, None] * updates).sum(0) / weights.sum()
    return point


def centered_clipping(updates, f, center=0.0):
    """Karimireddy et al. 2021, section 4."""
    for _ in range(3):
        lengths = np.linalg.norm(updates - center, axis=1)[:, None]
        center = center + ((updates - center) * np.minimum(1, RADIUS / lengths)).mean(0)
    return center


BY_THE_PAPERS = {
    "median": lambda updates, f: np.median(updates, axis=0),
    "krum": krum,
    "multi-krum": multi_krum,
    "geometric-median": geometric_median,
    "centered-clipping": centered_clipping,
}


def nearest_neighbour_mixing(updates, f):
    """Allouah et al. 2023, algorithm 2."""
    squared = ((updates[:, None] - updates[None]) ** 2).sum(2)
    return np.stack([updates[np.argsort(row)[: len(updates) - f]].mean(0) for row in squared])


def made_of(rule, updates, state=None):
    combination = RULES.make(rule).begin({"update": updates.shape[1]}, state or {})
    ones = torch.ones(len(updates), dtype=torch.float64)
    combination.add(Block(vectors={"update": torch.from_numpy(updates)}, factors=ones, divisors=ones))
    vectors, after = combination.finish()
    return vectors["update"].numpy(), after


def some_updates(seed):
    """Updates of unequal length, of which `f` are elsewhere."""
    generator = np.random.default_rng(seed)
    n, d = generator.integers(9, 20), generator.integers(1, 40)
    f = int(generator.integers(1, (n - 3) // 2 + 1))
    updates = generator.normal(size=(n, d)) * generator.lognormal(size=(n, 1))
    updates[:f] += 10 * generator.normal()
    return updates, f


@pytest.fixture
def narrow(monkeypatch):
    """Slices of few numbers, as of updates that are large."""
    monkeypatch.setattr("fedcore.aggregation.robust._SLICE_NUMBERS", 50)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("nnm", [False, True])
@pytest.mark.parametrize("name", ROBUST)
def test_a_rule_makes_what_its_paper_says(name, nnm):
    for seed in range(10):
        updates, f = some_updates(seed)
        found, _ = made_of({"name": name, "f": f, "nnm": nnm, **ROBUST[name]}, updates)
        expected = BY_THE_PAPERS[name](nearest_neighbour_mixing(updates, f) if nnm else updates, f)
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)


def test_the_trimmed_mean_of_neighbours_is_scipys():
    updates, f = some_updates(3)
    found, _ = made_of({"name": "trimmed-mean", "share": f / len(updates), "nnm": True}, updates)
    expected = trim_mean(nearest_neighbour_mixing(updates, f), f / len(updates) + 1e-9, axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_centered_clipping_begins_where_the_round_before_ended():
    rule = {"name": "centered-clipping", "f": 1, **ROBUST["centered-clipping"]}
    updates, _ = some_updates(0)
    first, state = made_of(rule, updates)
    second, _ = made_of(rule, updates, state)
    np.testing.assert_allclose(second, centered_clipping(updates, 1, first), rtol=0, atol=1e-12)
    assert np.abs(second - first).max() > 1e-3


def test_the_geometric_median_of_updates_far_from_zero_is_exact():
    """Of points on a line it is the middle one; products instead of differences would lose it."""
    line = np.outer([-5.0, -1.0, 0.0, 2.0, 70.0], np.ones(4)) * 1e-3 + 1e6
    found, _ = made_of({"name": "geometric-median", "f": 1}, line)
    np.testing.assert_allclose(found, line[2], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ROBUST)
def test_hostile_clients_move_the_mean_anywhere_and_a_robust_rule_little(name):
    generator = np.random.default_rng(0)
    honest, hostile = generator.normal(1.0, 0.1, size=(13, 5)), np.full((4, 5), -1e6)
    found, _ = made_of({"name": name, "f": 4, **ROBUST[name]}, np.concatenate([honest, hostile]))
    assert np.linalg.norm(found - honest.mean(0)) < 2.5


def refused(rule, **sections):
    sections = {"federation": {"clients": 20, "quorum": 20}, "aggregation": {"rule": rule}, **sections}
    with pytest.raises(PlanError) as refusal:
        Method.of(build_plan(**sections))
    return str(refusal.value)


@pytest.mark.parametrize(("name", "least"), [("median", 9), ("geometric-median", 9), ("krum", 11), ("multi-krum", 11)])
def test_too_few_updates_for_its_attackers_are_refused_before_training(name, least):
    few = f"against 4 hostile clients it needs {least} updates"
    assert f"{few}, and federation.quorum is {least - 1}; set it to {least} or more" in refused(
        f"{name}:4", federation={"clients": 20, "quorum": least - 1}
    )
    assert f"{few}, and a round asks {least - 1} clients; ask more, or lower f" in refused(
        f"{name}:4", federation={"clients": least - 1}
    )
    Method.of(build_plan(aggregation={"rule": f"{name}:4"}, federation={"clients": 20, "quorum": least}))


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("krum", "missing a required argument: 'f'; its options are: f, nnm"),
        ("krum:0", "f: expected the number of hostile clients to tolerate, 1 or more, found 0"),
        ("median:1.5", "1 or more, found 1.5"),
        ("centered-clipping:4", "missing a required argument: 'radius'"),
        ({"name": "centered-clipping", "f": 4, "radius": 0}, "radius: expected a number above 0, found 0"),
        ({"name": "centered-clipping", "f": 4, "radius": 1, "iterations": 0}, "iterations: expected a whole number"),
        ({"name": "geometric-median", "f": 4, "smoothing": -1}, "smoothing: expected a number above 0, found -1"),
        ({"name": "median", "f": 4, "nnm": "yes"}, "nnm: expected true or false, found 'yes'"),
    ],
)
def test_options_that_are_missing_or_out_of_range_are_refused(rule, words):
    assert words in refused(rule)


def test_it_is_refused_with_client_level_noise_and_with_weights():
    assert "no noise can be scaled to it" in refused("median:4", privacy={"unit": "client", "noise_multiplier": 1.0})
    assert "has no weights, and algorithm 'agnostic' weighs clients" in refused(
        "median:4", algorithm={"name": "agnostic"}
    )


@pytest.mark.parametrize("name", ["centered-clipping", "krum"])
def test_a_run_trains_and_says_what_the_rule_may_cost(name):
    federation = {"clients": 7, "quorum": 7, "rounds": 10}
    rule = {"name": name, "f": 2, **ROBUST[name]}
    result = simulate(TinyTask(), build_plan(federation=federation, aggregation={"rule": rule}))
    assert result.metrics["accuracy"] > 0.7
    assert any("where data are skewed it may cost more" in note for note in result.summary["notes"])
