from __future__ import annotations

import math

import numpy as np
import pytest

from fedcore.audit.statistics.intervals import koopman_interval, newcombe_interval, wilson_interval
from fedcore.errors import DataError


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Newcombe (1998), Stat. Med. 17:857-872, Table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_intervals(successes: int, trials: int, low: float, high: float) -> None:
    interval = wilson_interval(successes, trials, confidence=0.95)

    assert (interval.low, interval.high) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    # Newcombe (1998), Stat. Med. 17:873-890, Table II, method 10.
    [
        ((56, 70, 48, 80), 0.0524, 0.3339),
        ((9, 10, 3, 10), 0.1705, 0.8090),
        ((6, 7, 2, 7), 0.0582, 0.8062),
        ((5, 56, 0, 29), -0.0381, 0.1926),
        ((0, 10, 0, 20), -0.1611, 0.2775),
        ((0, 10, 0, 10), -0.2775, 0.2775),
        ((10, 10, 0, 20), 0.6791, 1.0),
        ((10, 10, 0, 10), 0.6075, 1.0),
    ],
)
def test_newcombe_gives_the_published_intervals(counts: tuple[int, ...], low: float, high: float) -> None:
    interval = newcombe_interval(*counts, confidence=0.95)

    assert (interval.low, interval.high) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        ((36, 40, 16, 80), 2.94, 7.15),  # Koopman (1984), Biometrics 40:513-517, the example
        ((7, 34, 1, 34), 1.220853, 42.575718),  # R package PropCIs: riskscoreci(7, 34, 1, 34, 0.95)
    ],
)
def test_koopman_gives_the_published_intervals(counts: tuple[int, ...], low: float, high: float) -> None:
    interval = koopman_interval(*counts, confidence=0.95)

    assert (interval.low, interval.high) == pytest.approx((low, high), rel=2e-3 if low == 2.94 else 1e-6)


@pytest.mark.parametrize("counts", [(36, 40, 16, 80), (3, 500, 4, 12), (10, 10, 7, 9), (1, 3, 9, 10)])
def test_koopman_ends_lie_where_the_score_test_rejects(counts: tuple[int, int, int, int]) -> None:
    # The chi-squared form of Koopman (1984), with the restricted estimate found by search instead of formula.
    interval = koopman_interval(*counts, confidence=0.9)

    for ratio in (interval.low, interval.high):
        assert _least_chi_squared(ratio, *counts) == pytest.approx(1.6448536**2, rel=1e-4)


def _least_chi_squared(ratio: float, x: int, m: int, y: int, n: int) -> float:
    from scipy.optimize import minimize_scalar
    from scipy.stats import binom

    def surprise(b: float) -> float:
        return -float(binom.logpmf(x, m, min(ratio * b, 1)) + binom.logpmf(y, n, b))

    b = minimize_scalar(
        surprise, bounds=(1e-9, min(1, 1 / ratio) - 1e-12), method="bounded", options={"xatol": 1e-12}
    ).x
    a = ratio * b
    return float((x - m * a) ** 2 / (m * a * (1 - a)) + (y - n * b) ** 2 / (n * b * (1 - b)))


def test_a_ratio_without_successes_is_bounded_on_one_side_or_none() -> None:
    none_above = koopman_interval(0, 10, 3, 10, confidence=0.95)
    none_below = koopman_interval(3, 10, 0, 10, confidence=0.95)
    none = koopman_interval(0, 10, 0, 20, confidence=0.95)

    assert none_above.low == 0
    assert none_below.high == math.inf
    assert none_below.low == pytest.approx(1 / none_above.high)
    assert (none.low, none.high) == (0, math.inf)


def test_swapping_the_rates_negates_the_difference_and_inverts_the_ratio() -> None:
    there, back = (newcombe_interval(*c, confidence=0.95) for c in ((7, 34, 1, 34), (1, 34, 7, 34)))
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))

    there, back = (koopman_interval(*c, confidence=0.95) for c in ((7, 34, 1, 34), (1, 34, 7, 34)))
    assert (there.low, there.high) == pytest.approx((1 / back.high, 1 / back.low))


@pytest.mark.parametrize("trials", [1, 2, 10, 10**6])
def test_a_rate_of_none_or_all_has_a_one_sided_interval(trials: int) -> None:
    none, every = (wilson_interval(k, trials, confidence=0.95) for k in (0, trials))

    assert none.low == 0 < none.high < 1
    assert every.high == 1 > every.low > 0


def test_every_interval_holds_its_estimate() -> None:
    generator = np.random.default_rng(3)
    for m, n in generator.integers(1, 50, size=(300, 2)).tolist():
        x, y = int(generator.integers(0, m + 1)), int(generator.integers(0, n + 1))
        rate = wilson_interval(x, m, confidence=0.8)
        difference = newcombe_interval(x, m, y, n, confidence=0.8)
        ratio = koopman_interval(x, m, y, n, confidence=0.8)

        assert rate.low <= x / m <= rate.high
        assert difference.low <= x / m - y / n <= difference.high
        assert y == 0 or ratio.low <= (x / m) / (y / n) <= ratio.high


@pytest.mark.parametrize("interval", [newcombe_interval, koopman_interval])
def test_a_rate_without_examples_has_no_interval(interval: object) -> None:
    with pytest.raises(DataError, match="without examples is undefined"):
        wilson_interval(0, 0, confidence=0.95)
    with pytest.raises(DataError, match="without examples is undefined"):
        interval(1, 2, 0, 0, confidence=0.95)  # type: ignore[operator]


def test_impossible_counts_and_confidences_are_refused() -> None:
    with pytest.raises(DataError, match="successes must be between 0 and 4, not 5"):
        wilson_interval(5, 4, confidence=0.95)
    with pytest.raises(DataError, match="confidence must be between 0 and 1, not 95"):
        wilson_interval(1, 4, confidence=95)


@pytest.mark.parametrize(("m", "n", "a", "b"), [(30, 30, 0.3, 0.3), (99, 40, 0.1, 0.4), (50, 99, 0.8, 0.9)])
def test_the_intervals_cover_the_truth_about_as_often_as_they_say(m: int, n: int, a: float, b: float) -> None:
    # Exact, by summing over all outcomes. Score methods are close to nominal, not above it: 93 % will do.
    from scipy.stats import binom

    chance = np.outer(binom.pmf(np.arange(m + 1), m, a), binom.pmf(np.arange(n + 1), n, b))
    covered = {"difference": 0.0, "ratio": 0.0}
    for (x, y), p in np.ndenumerate(chance):
        if p < 1e-7:
            continue
        difference = newcombe_interval(x, m, y, n, confidence=0.95)
        ratio = koopman_interval(x, m, y, n, confidence=0.95)
        covered["difference"] += p * (difference.low <= a - b <= difference.high)
        covered["ratio"] += p * (ratio.low <= a / b <= ratio.high)

    assert all(0.93 <= share <= 0.98 for share in covered.values()), covered
