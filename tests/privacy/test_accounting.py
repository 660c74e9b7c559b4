"""ε against dp-accounting, closed forms and published values."""

import math

import pytest
from dp_accounting import dp_event
from dp_accounting.pld import PLDAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm

from fedcore.errors import PrivacyError
from fedcore.privacy import accounting
from fedcore.privacy.accounting import calibrate_noise_multiplier, composed_epsilon, epsilon_of, privacy_losses
from fedcore.privacy.gaussian import gaussian_delta
from fedcore.privacy.plan import PrivacyEvent, Relation


def event(sampling_rate: float, noise_multiplier: float, steps: int) -> PrivacyEvent:
    return PrivacyEvent(sampling_rate=sampling_rate, noise_multiplier=noise_multiplier, steps=steps)


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Exact ε of a Gaussian mechanism: Balle and Wang 2018, arXiv 1805.06530, theorem 8."""

    def excess(epsilon: float) -> float:
        tail = norm.logcdf(-epsilon / mu - mu / 2) + epsilon
        return norm.cdf(-epsilon / mu + mu / 2) - math.exp(tail) - delta

    return brentq(excess, 0.0, 1e7, xtol=1e-13)


@pytest.mark.parametrize("relation", list(Relation))
@pytest.mark.parametrize(
    ("noise_multiplier", "steps"),
    [(10.0, 100), (5.0, 1), (1.0, 1), (4.0, 4), (2.0, 16), (0.1, 50), (0.004, 1), (0.01, 7)],
)
def test_without_sampling_epsilon_is_the_closed_form_of_the_gaussian(noise_multiplier, steps, relation):
    """Up to ε in the hundred thousands; the accountant's bins were up to 1.14 too high there."""
    exact = gaussian_epsilon(relation.moved * math.sqrt(steps) / noise_multiplier, 1e-5)
    found = epsilon_of(event(1.0, noise_multiplier, steps), 1e-5, relation)
    assert exact * (1 - 1e-12) <= found <= exact * (1 + 1e-9) + 1e-9


def test_without_sampling_mechanisms_of_different_noise_compose_to_one():
    events = (event(1.0, 3.0, 5), event(1.0, 4.0, 2))
    assert epsilon_of(events, 1e-5) == pytest.approx(gaussian_epsilon(math.sqrt(5 / 9 + 2 / 16), 1e-5), abs=1e-8)
    assert privacy_losses(events).delta(2.0) == pytest.approx(gaussian_delta(math.sqrt(5 / 9 + 2 / 16), 2.0))


@pytest.mark.parametrize(
    ("sampling_rate", "noise_multiplier", "steps", "delta", "expected"),
    [
        (0.01, 1.0, 10_000, 1e-5, 6.188),
        (0.01, 1.1, 1_000, 1e-5, 1.515),
        (256 / 60_000, 1.1, 14_063, 1e-5, 2.382),
        (0.1, 2.0, 100, 1e-5, 2.337),
        (0.5, 2.0, 100, 1e-5, 14.284),
        (0.001, 0.6, 10_000, 1e-6, 3.152),
        (0.02, 0.8, 500, 1e-5, 4.668),
    ],
)
def test_sampled_epsilon_is_at_most_slightly_above_a_finer_accountants(
    sampling_rate, noise_multiplier, steps, delta, expected
):
    """Expected: PLDAccountant with value_discretization_interval 1e-4."""
    assert expected - 1e-3 <= epsilon_of(event(sampling_rate, noise_multiplier, steps), delta) <= expected + 1.5e-3


@given(
    sampling_rate=st.sampled_from([0.01, 0.2, 0.7]),
    noise_multiplier=st.floats(0.3, 20.0),
    steps=st.integers(1, 60),
)
@settings(max_examples=15, deadline=None)
def test_epsilon_never_falls_below_dp_accountings_own_at_the_same_discretisation(
    sampling_rate, noise_multiplier, steps
):
    accountant = PLDAccountant(value_discretization_interval=1e-4)
    sampled = dp_event.PoissonSampledDpEvent(sampling_rate, dp_event.GaussianDpEvent(noise_multiplier))
    finer = accountant.compose(dp_event.SelfComposedDpEvent(sampled, steps)).get_epsilon(1e-5)
    assert epsilon_of(event(sampling_rate, noise_multiplier, steps), 1e-5) >= finer - 1e-6


def test_rounds_compose_and_do_not_add_up():
    joint = epsilon_of((event(0.02, 1.0, 250),) * 5, 1e-5)
    assert joint == pytest.approx(epsilon_of(event(0.02, 1.0, 1250), 1e-5), abs=0.01)
    assert joint == pytest.approx(4.375, abs=0.02)
    assert joint < 5 * epsilon_of(event(0.02, 1.0, 250), 1e-5)


def test_nothing_spent_is_zero_and_no_noise_is_infinite():
    assert epsilon_of(event(0.5, 1.0, 0), 1e-5) == 0.0
    assert epsilon_of((), 1e-5) == 0.0
    assert epsilon_of(event(0.5, 0.0, 1), 1e-5) == math.inf
    assert epsilon_of(event(1.0, 1e-9, 1), 1e-5) == math.inf


def test_hopelessly_little_noise_has_a_finite_epsilon_in_a_moment():
    assert 40_000 < epsilon_of(event(1.0, 0.1, 1000), 1e-5) < 60_000
    assert epsilon_of(event(0.5, 0.002, 10), 1e-5) > 1e5


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 8.0, 200.0])
@pytest.mark.parametrize(("sampling_rate", "steps"), [(1.0, 50), (0.1, 100)])
def test_calibrated_noise_keeps_the_target_and_wastes_little_of_it(epsilon, sampling_rate, steps):
    noise = calibrate_noise_multiplier(epsilon=epsilon, delta=1e-5, sampling_rate=sampling_rate, steps=steps)
    spent = epsilon_of(event(sampling_rate, noise, steps), 1e-5)
    assert 0.98 * epsilon <= spent <= epsilon


def halving(spent, epsilon):
    """The multiplier by halves alone, from a bracket found by doubling: slow, and plainly right."""
    high = 1.0
    while spent(high) > epsilon:
        high *= 2.0
    while spent(high / 2.0) <= epsilon:
        high /= 2.0
    low = high / 2.0
    while high / low > 1.0005:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if spent(middle) > epsilon else (low, middle)
    return math.ceil(high * 1e4) / 1e4


@pytest.mark.parametrize(
    ("epsilon", "sampling_rate", "steps"),
    [(0.5, 1.0, 50), (8.0, 1.0, 50), (1.0, 0.5, 200), (8.0, 0.5, 20), (2.0, 0.01, 3000), (50.0, 0.1, 10)],
)
def test_calibration_finds_what_halving_finds_in_half_the_trials(monkeypatch, epsilon, sampling_rate, steps):
    expected = halving(lambda noise: epsilon_of(event(sampling_rate, noise, steps), 1e-5), epsilon)
    tried = []

    def counted(events, delta, relation):
        tried.append(events.noise_multiplier)
        return epsilon_of(events, delta, relation)

    monkeypatch.setattr(accounting, "epsilon_of", counted)
    calibrate = calibrate_noise_multiplier.__wrapped__
    assert calibrate(epsilon=epsilon, delta=1e-5, sampling_rate=sampling_rate, steps=steps) == expected
    assert len(set(tried)) <= 10


def test_an_epsilon_out_of_reach_is_refused_with_what_to_do():
    with pytest.raises(PrivacyError, match="larger epsilon, fewer rounds or fewer steps"):
        calibrate_noise_multiplier(epsilon=1e-7, delta=1e-12, sampling_rate=1.0, steps=10_000)


def test_epsilon_grows_with_rounds():
    epsilons = [epsilon_of(event(0.5, 2.0, 2 * rounds), 1e-5) for rounds in range(6)]
    assert epsilons[0] == 0.0
    assert epsilons == sorted(epsilons)


def test_events_of_one_mechanism_are_joined_before_they_are_composed():
    mixed = [event(0.5, 4.0, 2), event(0.1, 2.0, 5)] * 10
    assert composed_epsilon(mixed, 1e-5) == epsilon_of((event(0.1, 2.0, 50), event(0.5, 4.0, 20)), 1e-5)
    assert composed_epsilon([event(0.5, 4.0, 1)] * 500, 1e-5) == epsilon_of((event(0.5, 4.0, 500),), 1e-5)
    assert composed_epsilon([], 1e-5) == 0.0


@pytest.mark.parametrize(
    ("mechanism", "delta"),
    [((0.5, 1e300, 10), 1e-5), ((5e-324, 2.0, 100), 5e-324), ((0.3, 0.0011, 10**6), 1e-5), ((0.5, 0.0, 1), 1e-5)],
)
def test_what_the_accountant_cannot_compute_is_never_taken_for_little(mechanism, delta):
    assert composed_epsilon([event(*mechanism)], delta) == math.inf


def test_where_epsilon_is_in_the_millions_it_is_infinite_with_sampling_and_nothing_overflows():
    assert epsilon_of(event(0.5, 0.01, 10**6), 1e-9) == math.inf
    mu = math.sqrt(619) / 0.002
    assert epsilon_of(event(1.0, 0.002, 619), 1e-9) == pytest.approx(mu * mu / 2, rel=1e-3)
