"""The intervals of what is told over clients: exact where there is a closed form, and never short."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from fedcore.audit.metrics.clients import (
    client_spread,
    gini,
    gini_interval,
    mean_difference,
    mean_interval,
    worst_decile_interval,
)
from fedcore.audit.metrics.rates import Rate
from fedcore.audit.statistics.intervals import exact_interval, wilson_interval

FIGURES = {
    "mean": (mean_interval, lambda rates: float(np.mean(rates))),
    "worst decile": (worst_decile_interval, lambda rates: float(np.mean(np.sort(rates)[: math.ceil(len(rates) / 10)]))),
    "gini": (gini_interval, lambda rates: gini(sorted(rates)) or 0.0),
}
SETTINGS = {
    "3 clients alike": ([0.8] * 3, [100] * 3),
    "3 clients near 100 %": ([0.99] * 3, [80] * 3),
    "3 clients that differ, of few and of many rows": ([0.6, 0.8, 0.95], [20, 100, 1000]),
    "50 clients alike, of 20 rows": ([0.85] * 50, [20] * 50),
    "50 clients near 100 %, of 10 rows": ([0.98] * 50, [10] * 50),
    "50 clients that differ": (np.linspace(0.6, 0.95, 50).tolist(), [10 + (37 * k % 50) * 8 for k in range(50)]),
    "20 clients, the small ones served badly": ([0.5, 0.99] * 10, [10, 200] * 10),
}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("figure", FIGURES)
def test_nominal_95_percent_cover_at_least_93(figure, setting):
    """The chance of a false alarm is 0.2 % for each, were coverage 93 % and no more."""
    interval, truth = FIGURES[figure]
    rates, rows = (np.array(values) for values in SETTINGS[setting])
    draws = 400 if figure != "gini" else 150
    generator, expected, held = np.random.default_rng(1), truth(rates), 0
    for successes in generator.binomial(rows, rates, size=(draws, len(rows))):
        ends = interval(successes, rows, confidence=0.95)
        held += ends.low - 1e-12 <= expected <= ends.high + 1e-12
    print(f"{figure}, {setting}: {held / draws:.3f}")
    assert held / draws >= 0.93 - 3 * math.sqrt(0.93 * 0.07 / draws)


def test_square_and_add_over_the_clients_would_be_too_short():
    """The chance of a false alarm is below 1 in 10,000, were its coverage 93 %."""
    ends = [wilson_interval(k, 10, confidence=0.95) for k in range(11)]
    above = np.array([end.high for end in ends]) - np.arange(11) / 10
    below = np.arange(11) / 10 - np.array([end.low for end in ends])
    drawn = np.random.default_rng(0).binomial(10, 0.98, size=(4000, 50))
    error = (drawn / 10).mean(axis=1) - 0.98
    high, low = (np.sqrt((part[drawn] ** 2).sum(axis=1)) / 50 for part in (above, below))
    covered = np.mean((error <= low + 1e-12) & (-error <= high + 1e-12))
    print(f"square-and-add: {covered:.3f}")
    assert covered < 0.93 - 4 * math.sqrt(0.93 * 0.07 / 4000)


@pytest.mark.parametrize("clients", [1, 2, 50])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_of_clients_with_as_many_rows_each_the_mean_has_wilsons_interval_of_all_rows(clients, share):
    found = mean_interval(np.full(clients, round(40 * share)), np.full(clients, 40), confidence=0.9)
    expected = wilson_interval(clients * round(40 * share), clients * 40, confidence=0.9)
    assert (found.low, found.high) == (pytest.approx(expected.low, abs=1e-12), pytest.approx(expected.high, abs=1e-12))


def test_the_interval_of_the_mean_holds_every_mean_whose_clients_could_be_so_uncertain():
    """By search over the rates of two clients: no admissible pair lies outside, and some lie at the ends."""
    successes, rows, z = np.array([8, 150]), np.array([10, 200]), stats.norm.isf(0.025)
    found = mean_interval(successes, rows, confidence=0.95)
    a, b = np.meshgrid(np.linspace(0, 1, 1001), np.linspace(0, 1, 1001))
    std = np.sqrt((a * (1 - a) / 10 + b * (1 - b) / 200) / 4)
    means = ((a + b) / 2)[np.abs((8 / 10 + 150 / 200) / 2 - (a + b) / 2) <= z * std]
    assert (means.min(), means.max()) == (pytest.approx(found.low, abs=1e-3), pytest.approx(found.high, abs=1e-3))


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (3, 10), (10, 10), (199, 200)])
def test_the_exact_interval_is_that_of_two_binomial_tests(successes, trials):
    found = exact_interval(successes, trials, confidence=0.95)
    expected = stats.binomtest(successes, trials).proportion_ci(0.95, method="exact")
    assert (found.low, found.high) == (pytest.approx(expected.low, abs=1e-9), pytest.approx(expected.high, abs=1e-9))


def test_the_mean_difference_is_that_of_all_pairs():
    rates = np.random.default_rng(0).random((3, 7))
    pairs = np.abs(rates[:, :, None] - rates[:, None, :]).sum(axis=(1, 2)) / 49
    assert mean_difference(rates) == pytest.approx(pairs)


def spread_of(counts, **settings):
    return client_spread(
        {f"c{k}": Rate.of(*of, confidence=0.95) for k, of in enumerate(counts)}, min_cell=1, **settings
    )


def test_every_figure_lies_within_its_interval_and_more_confidence_makes_that_longer():
    counts = [(17, 20), (90, 100), (55, 60), (12, 30)]
    narrow, wide = spread_of(counts), spread_of(counts, confidence=0.99)
    for name in ("mean", "worst_decile", "gini"):
        one, other = getattr(narrow, name), getattr(wide, name)
        assert other.low < one.low < one.value == other.value < one.high < other.high
        assert one.n == 210


def test_a_gini_coefficient_of_clients_without_a_hit_is_undefined():
    content = spread_of([(0, 20), (0, 30)]).to_json()
    assert content["gini"] is None
    upper = mean_interval(np.array([0, 0]), np.array([20, 30]), confidence=0.95).high
    assert content["mean"] == {"value": 0.0, "low": 0.0, "high": math.ceil(1000 * upper) / 1000}
    assert 0 < upper < 0.2


def test_a_single_client_has_no_inequality():
    gini_of_one = spread_of([(15, 20)]).gini
    assert (gini_of_one.value, gini_of_one.low, gini_of_one.high) == (0.0, 0.0, 0.0)
