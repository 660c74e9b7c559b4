"""Lower bounds on ε: golden values of the papers' methods, and how often they are too large."""

import math

import numpy as np
import pytest

from fedcore.errors import PrivacyError
from fedcore.privacy.gaussian import gaussian_epsilon
from fedcore.privacy.lower_bounds import (
    best_guesses,
    canary_mu,
    gaussian_one_run_epsilon,
    one_run_ceiling,
    one_run_epsilon,
)


@pytest.mark.parametrize(
    ("canaries", "guesses", "correct", "delta", "expected"),
    [
        (1000, 1000, 750, 0.0, 0.976667),
        (1000, 100, 100, 0.0, 3.492965),
        (1000, 100, 100, 1e-5, 3.465376),
        (10_000, 1000, 1000, 1e-5, 5.529350),
        (1000, 200, 180, 1e-5, 1.796285),
        (1000, 200, 100, 1e-5, 0.0),
    ],
)
def test_the_one_run_bound_has_the_golden_values(canaries, guesses, correct, delta, expected):
    """Cross-checked with the implementation of the paper's authors' field (jax-privacy)."""
    found = one_run_epsilon(canaries=canaries, guesses=guesses, correct=correct, delta=delta)
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("correct", "guesses", "expected"), [(100, 100, 5.54903), (180, 200, 2.90124), (90, 100, 2.4564)]
)
def test_the_gaussian_one_run_bound_has_the_golden_values(correct, guesses, expected):
    found = gaussian_one_run_epsilon(canaries=1000, guesses=guesses, correct=correct, delta=1e-5)
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("mu", "epsilon"), [(0.25, 0.926342), (0.5, 1.993091), (1.0, 4.377178), (2.0, 9.997256)])
def test_gaussian_differential_privacy_has_the_exact_values(mu, epsilon):
    assert gaussian_epsilon(mu, 1e-5) == pytest.approx(epsilon, abs=1e-6)


@pytest.mark.parametrize(("epsilon", "guesses"), [(1, 10), (2, 24), (4, 166), (6, 1211), (8, 8932)])
def test_no_run_can_show_more_than_its_ceiling(epsilon, guesses):
    assert one_run_ceiling(guesses=guesses) >= epsilon > one_run_ceiling(guesses=guesses - 1)
    all_right = one_run_epsilon(canaries=guesses, guesses=guesses, correct=guesses, delta=0.0)
    assert all_right == pytest.approx(one_run_ceiling(guesses=guesses), rel=1e-6)


def test_more_right_guesses_never_show_less():
    shown = [one_run_epsilon(canaries=500, guesses=100, correct=correct, delta=1e-5) for correct in range(101)]
    assert shown == sorted(shown)
    assert shown[50] == 0.0 < shown[100]


@pytest.mark.parametrize("mu", [0.0, 0.5, 1.5])
def test_bounds_are_rarely_above_the_truth(mu):
    generator, trials, canaries = np.random.default_rng(int(10 * mu)), 300, 200
    above_gaussian = above_one_run = 0
    for _ in range(trials):
        coins = generator.random(canaries) < 0.5
        scores = generator.standard_normal(canaries) + mu * coins
        truth = gaussian_epsilon(mu, 1e-5)
        above_gaussian += canary_mu(scores[coins], scores[~coins], p=0.05)[1] > mu + 1e-12
        correct = best_guesses(scores, coins, 40)
        above_one_run += one_run_epsilon(canaries=canaries, guesses=40, correct=correct, delta=1e-5) > truth + 1e-9
    assert above_one_run <= 0.05 * trials + 3 * math.sqrt(0.05 * 0.95 * trials)
    assert above_gaussian <= 0.065 * trials + 3 * math.sqrt(0.065 * 0.935 * trials)  # asymptotic: a little above 5 %


def test_scores_without_any_noise_are_without_bound():
    assert canary_mu([1.0, 1.0], [0.0, 0.0], p=0.05) == (math.inf, math.inf)


@pytest.mark.parametrize("changes", [{"correct": 11}, {"guesses": 21}, {"delta": 1.0}, {"p": 0.0}, {"canaries": 0}])
def test_impossible_counts_are_refused(changes):
    with pytest.raises(PrivacyError, match="an audit needs"):
        one_run_epsilon(**{"canaries": 20, "guesses": 10, "correct": 5, "delta": 0.0, **changes})


def test_too_few_canaries_are_refused():
    with pytest.raises(PrivacyError, match="two canaries at least"):
        canary_mu([1.0], [0.0, 0.1], p=0.05)
