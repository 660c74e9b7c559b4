"""What may be added up under adaptive choice, against closed forms, published values and plain quadrature."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from dp_accounting import dp_event
from dp_accounting.rdp import RdpAccountant
from scipy import integrate, stats

from fedcore.errors import PrivacyError
from fedcore.privacy.accounting import epsilon_of
from fedcore.privacy.filters import (
    best_order,
    conversion,
    gaussian_mu,
    most_steps,
    renyi_divergence,
)
from fedcore.privacy.gaussian import gaussian_delta
from fedcore.privacy.plan import PrivacyEvent, Relation

DELTA = 1e-5


def build_event(q=0.01, noise=1.0, steps=1):
    return PrivacyEvent(sampling_rate=q, noise_multiplier=noise, steps=steps)


@pytest.mark.parametrize(("mu", "epsilon"), [(0.25, 0.926342), (0.5, 1.993091), (1.0, 4.377178), (2.0, 9.997256)])
def test_exact_gaussian_privacy_has_its_published_values(mu, epsilon):
    assert gaussian_mu(epsilon, DELTA) == pytest.approx(mu, rel=2e-6)
    assert gaussian_delta(mu, epsilon) == pytest.approx(DELTA, rel=2e-5)


def test_epsilon_8_buys_277_gaussian_releases_with_noise_10():
    mu = gaussian_mu(8.0, DELTA)
    assert mu == pytest.approx(1.666, abs=1e-3)
    assert math.floor(mu**2 * 100) == 277
    assert epsilon_of(build_event(1.0, 10.0, 277), DELTA) <= 8.0 + 1e-3
    assert epsilon_of(build_event(1.0, 10.0, 279), DELTA) > 8.0


@pytest.mark.parametrize("epsilon", [0.01, 0.5, 5.0, 50.0, 900.0])
@pytest.mark.parametrize("delta", [1e-12, 1e-5, 0.1])
def test_the_mu_that_is_allowed_is_rounded_down(epsilon, delta):
    mu = gaussian_mu(epsilon, delta)
    assert gaussian_delta(mu, epsilon) <= delta
    assert gaussian_delta(mu * (1 + 1e-6), epsilon) > delta


@pytest.mark.parametrize(
    ("epsilon", "order", "bound"),
    [(1.0, 17.8, 0.544), (2.0, 10.2, 1.104), (4.0, 6.1, 2.276), (8.0, 3.85, 4.734), (10.0, 3.4, 6.061)],
)
def test_the_order_and_what_it_buys_have_their_published_values(epsilon, order, bound):
    """The published orders lie on a grid; what matters is the bound over the order, to which they agree."""
    assert epsilon - conversion(order, DELTA) == pytest.approx(bound, abs=1.5e-3)
    found = best_order(epsilon, DELTA)
    assert found == pytest.approx(order, rel=0.01)
    assert (epsilon - conversion(found, DELTA)) / found >= bound / order - 1e-4


def test_the_best_order_is_the_best_of_a_fine_grid():
    for epsilon in (0.1, 3.0, 20.0, 200.0):
        found = best_order(epsilon, DELTA)
        grid = 1.0 + np.geomspace(1e-2, 1e4, 20_001)
        best = max((epsilon - conversion(float(order), DELTA)) / order for order in grid)
        assert (epsilon - conversion(found, DELTA)) / found == pytest.approx(best, rel=1e-4)


def test_the_conversion_is_that_of_the_reference_accountant():
    for order in (2.0, 6.5, 32.0):
        accountant = RdpAccountant(orders=[order])
        accountant.compose(dp_event.GaussianDpEvent(3.0))
        expected = accountant.get_epsilon(DELTA)
        assert renyi_divergence(build_event(1.0, 3.0), order) + conversion(order, DELTA) == pytest.approx(expected)


@pytest.mark.parametrize("order", [2, 3, 8, 17, 40])
@pytest.mark.parametrize(("q", "noise"), [(0.01, 1.0), (0.3, 0.5), (0.9, 2.0), (0.001, 7.0), (0.1, 0.1)])
def test_at_whole_orders_the_divergence_is_the_binomial_sum(order, q, noise):
    """Mironov, Talwar and Zhang 2019, Section 3.3."""
    terms = [
        math.lgamma(order + 1)
        - math.lgamma(k + 1)
        - math.lgamma(order - k + 1)
        + (order - k) * math.log1p(-q)
        + k * math.log(q)
        + (k * k - k) / (2 * noise**2)
        for k in range(order + 1)
    ]
    expected = float(np.logaddexp.reduce(terms)) / (order - 1)
    assert renyi_divergence(build_event(q, noise), float(order)) == pytest.approx(expected, rel=1e-8, abs=1e-13)


@pytest.mark.parametrize(
    ("q", "noise", "order", "expected"),
    [
        (0.01, 1.0, 1.2, 0.000101059540811791),
        (0.01, 1.0, 3.85, 0.000347969493667872),
        (0.5, 4.0, 2.2, 0.0176503549273212),
        (0.2, 0.6, 17.809, 23.0295357279311),
        (1e-4, 10.0, 2.404, 1.20803057554256e-10),
        (0.3, 0.06, 1.7, 233.187177157748),
        (1e-5, 0.5, 3.4, 9.25233629972832e-9),
    ],
)
def test_between_them_it_is_what_quadrature_in_thirty_digits_gives(q, noise, order, expected):
    """By mpmath, over 60 pieces from 15 deviations below 0 to 15 above the order."""
    assert renyi_divergence(build_event(q, noise), order) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("order", [1.5, 2.0, 6.3])
@pytest.mark.parametrize(("q", "noise"), [(0.01, 1.0), (0.3, 0.5), (0.9, 2.0), (0.001, 7.0), (0.5, 4.0), (0.999, 1.0)])
def test_a_replaced_record_costs_what_quadrature_gives(q, noise, order):
    """By scipy's adaptive rule over the densities themselves, in pieces of three deviations."""

    def log_density(z, mean):
        return np.logaddexp(
            math.log(1 - q) + stats.norm.logpdf(z, 0.0, noise), math.log(q) + stats.norm.logpdf(z, mean, noise)
        )

    def integrand(z):
        return math.exp(order * log_density(z, 1.0) + (1.0 - order) * log_density(z, -1.0))

    edges = np.arange(-1.0 - 12.0 * noise, 2.0 * order + 12.0 * noise, 3.0 * noise)
    moment = sum(integrate.quad(integrand, *piece, epsabs=0.0, epsrel=1e-11)[0] for piece in pairwise(edges))
    found = renyi_divergence(build_event(q, noise), order, Relation.REPLACE_ONE)
    assert found == pytest.approx(math.log(moment) / (order - 1.0), rel=1e-6, abs=1e-9)
    blanked, unsampled = renyi_divergence(build_event(q, noise), order), 2.0 * order / noise**2
    assert blanked < found <= unsampled * (1 + 1e-12)


def test_a_replaced_record_costs_four_times_as_much_without_sampling():
    assert renyi_divergence(build_event(1.0, 3.0), 5.0, Relation.REPLACE_ONE) == pytest.approx(5.0 * 4.0 / 18.0)


@pytest.mark.parametrize("q", [0.05, 0.5, 1.0])
def test_a_divergence_that_fits_keeps_epsilon_for_replaced_records_too(q):
    """The filter's ε is never below that of the accountant for the same steps."""
    order = best_order(8.0, DELTA)
    steps = int((8.0 - conversion(order, DELTA)) / renyi_divergence(build_event(q, 2.0), order, Relation.REPLACE_ONE))
    assert steps > 0
    assert epsilon_of(build_event(q, 2.0, steps), DELTA, Relation.REPLACE_ONE) <= 8.0


def test_steps_add_up_and_sampling_never_costs_more_than_none():
    one = renyi_divergence(build_event(0.1, 1.0), 3.0)
    assert renyi_divergence(build_event(0.1, 1.0, 7), 3.0) == pytest.approx(7 * one)
    for noise in (0.01, 0.3, 3.0):
        rates = [renyi_divergence(build_event(q, noise), 3.0) for q in (0.0, 0.01, 0.5, 1.0)]
        assert rates == sorted(rates)
        assert rates[-1] == 3.0 / (2 * noise**2)
    assert renyi_divergence(build_event(0.1, 0.0), 3.0) == math.inf


def test_at_one_fixed_order_about_seven_eighths_of_the_steps_are_left_at_epsilon_8():
    order = best_order(8.0, DELTA)
    by_order = (8.0 - conversion(order, DELTA)) / renyi_divergence(build_event(), order)
    steps = most_steps(epsilon=8.0, delta=DELTA, sampling_rate=0.01, noise_multiplier=1.0)
    assert 0.86 < by_order / steps < 0.89


@pytest.mark.parametrize(("epsilon", "q", "noise"), [(1.0, 0.01, 1.0), (0.3, 1.0, 20.0), (4.0, 0.5, 3.0)])
def test_the_most_steps_keep_epsilon_and_one_more_does_not(epsilon, q, noise):
    steps = most_steps(epsilon=epsilon, delta=DELTA, sampling_rate=q, noise_multiplier=noise)
    assert (
        epsilon_of(build_event(q, noise, steps), DELTA) <= epsilon < epsilon_of(build_event(q, noise, steps + 1), DELTA)
    )


def test_254_steps_keep_epsilon_1_where_the_renyi_bound_allows_four():
    assert most_steps(epsilon=1.0, delta=DELTA, sampling_rate=0.01, noise_multiplier=1.0) == 254


def test_a_mechanism_that_one_step_breaks_the_budget_of_buys_none():
    assert most_steps(epsilon=0.5, delta=DELTA, sampling_rate=1.0, noise_multiplier=0.5) == 0


def test_an_epsilon_that_buys_nothing_at_any_order_is_said_to():
    with pytest.raises(PrivacyError, match="leaves nothing to be spent"):
        best_order(1e-9, 1e-12)
