"""Confidence intervals of a rate, of the difference and the ratio of two independent rates, and of a mean of rates.

They invert or combine score tests, which keep close to the stated confidence down to a handful of
examples and at 0 % and 100 %, where the textbook ("Wald") intervals fail (Newcombe 1998; Fagerland, Lydersen
and Laake 2015, "Recommended confidence intervals for two independent binomial proportions",
Stat. Methods Med. Res. 24:224-254). Rows are taken as independent draws: a sample of future cases.
Every function raises ``DataError`` for a rate without examples: rate and interval are undefined.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from fedcore.errors import DataError

Counts = NDArray[np.int64]
_HALVINGS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A closed interval; ``high`` is infinite where a ratio has no upper bound."""

    low: float
    high: float


def normal_quantile(confidence: float) -> float:
    """Return z with P(-z < Z < z) = confidence for a standard normal Z: 1.96 for 0.95."""
    if not 0 < confidence < 1:
        raise DataError(f"confidence must be between 0 and 1, not {confidence!r}")
    return NormalDist().inv_cdf((1 + confidence) / 2)


def student_quantile(confidence: float, degrees: float) -> float:
    """Return t with P(-t < T < t) = confidence for Student's T of so many degrees of freedom."""
    from scipy.special import stdtrit

    if math.isinf(degrees):
        return normal_quantile(confidence)
    return float(stdtrit(degrees, (1 + confidence) / 2))


def wilson_interval(successes: float, trials: float, *, confidence: float) -> Interval:
    """Return the score interval of one rate, within [0, 1].

    Source: Wilson, E. B. (1927), "Probable inference, the law of succession, and statistical inference",
    J. Am. Stat. Assoc. 22:209-212.

    Raises:
        DataError: No trials, or successes outside 0 to trials.
    """
    _check(successes, trials)
    return share_interval(successes / trials, trials, confidence=confidence)


def share_interval(p: float, trials: float, *, confidence: float) -> Interval:
    """Return Wilson's interval of a share p from ``trials`` > 0 draws, not necessarily a whole number."""
    z = normal_quantile(confidence)
    shrink = 1 + z * z / trials
    centre = (p + z * z / (2 * trials)) / shrink
    half = z / shrink * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    return Interval(low=0.0 if p == 0 else centre - half, high=1.0 if p == 1 else centre + half)


def exact_interval(successes: float, trials: float, *, confidence: float) -> Interval:
    """Return the interval of one rate that holds with at least the stated confidence, whatever the rate.

    Source: Clopper, C. J. and Pearson, E. S. (1934), "The use of confidence or fiducial limits illustrated in the case
    of the binomial", Biometrika 26:404-413. Raises `DataError` as `wilson_interval`.
    """
    from scipy.special import betaincinv

    _check(successes, trials)
    tail, failures = (1 - confidence) / 2, trials - successes
    return Interval(
        low=float(betaincinv(successes, failures + 1, tail)) if successes else 0.0,
        high=float(betaincinv(successes + 1, failures, 1 - tail)) if failures else 1.0,
    )


def newcombe_interval(
    successes_a: float, trials_a: float, successes_b: float, trials_b: float, *, confidence: float
) -> Interval:
    """Return the hybrid score interval of rate a minus rate b, within [-1, 1].

    Source: Newcombe, R. G. (1998), "Interval estimation for the difference between independent proportions:
    comparison of eleven methods", Stat. Med. 17:873-890, method 10. Raises `DataError` as `wilson_interval`.
    """
    interval_a = wilson_interval(successes_a, trials_a, confidence=confidence)
    interval_b = wilson_interval(successes_b, trials_b, confidence=confidence)
    found = square_and_add(successes_a / trials_a, interval_a, successes_b / trials_b, interval_b)
    return Interval(low=max(-1.0, found.low), high=min(1.0, found.high))


def difference_interval(
    successes_a: float, trials_a: float, successes_b: float, trials_b: float, *, confidence: float
) -> Interval:
    """Return Newcombe's interval of rate a minus rate b, widened to the one that is formed of exact ones.

    Near 0 and 100 % Wilson's intervals of few rows, which Newcombe's is formed of, are too short at the confidence that
    one of many pairs has: at that of 7 groups, its lower end for 10 rows of a rate of 0.5 % and 400 of a rate of 0 is
    beyond the truth 20 times as often as both ends together may be. Raises `DataError` as `wilson_interval`.
    """
    score = newcombe_interval(successes_a, trials_a, successes_b, trials_b, confidence=confidence)
    exact = square_and_add(
        successes_a / trials_a,
        exact_interval(successes_a, trials_a, confidence=confidence),
        successes_b / trials_b,
        exact_interval(successes_b, trials_b, confidence=confidence),
    )
    return Interval(low=max(-1.0, min(score.low, exact.low)), high=min(1.0, max(score.high, exact.high)))


def square_and_add(a: float, interval_a: Interval, b: float, interval_b: Interval) -> Interval:
    """Return the interval of a - b from the interval of each, of independent estimates.

    Source: Zou, G. Y. and Donner, A. (2008), "Construction of confidence limits about effect measures: a
    general approach", Stat. Med. 27:1693-1702.
    """
    return Interval(
        low=a - b - _side(a - interval_a.low, interval_b.high - b),
        high=a - b + _side(interval_a.high - a, b - interval_b.low),
    )


def ratio_of(a: float, interval_a: Interval, b: float, interval_b: Interval) -> Interval:
    """Return the interval of a / b, within [0, inf], from the interval of each positive estimate.

    It is ``square_and_add`` of their logarithms. If one of them or a lower end is 0, it reaches from the smallest to
    the largest ratio of two values in the intervals.
    """
    if min(a, b, interval_a.low, interval_b.low) <= 0:
        return Interval(
            low=interval_a.low / interval_b.high if interval_b.high > 0 else 0.0,
            high=interval_a.high / interval_b.low if interval_b.low > 0 else math.inf,
        )
    logs = [Interval(low=math.log(one.low), high=math.log(one.high)) for one in (interval_a, interval_b)]
    found = square_and_add(math.log(a), logs[0], math.log(b), logs[1])
    return Interval(low=math.exp(found.low), high=math.exp(found.high))


def _side(first: float, second: float) -> float:
    """Return the hypotenuse: how far a - b may be off on one side."""
    return math.sqrt(first**2 + second**2)


def koopman_interval(
    successes_a: float, trials_a: float, successes_b: float, trials_b: float, *, confidence: float
) -> Interval:
    """Return the score interval of rate a / rate b, within [0, inf].

    Chosen over the Katz log interval because it needs no added half counts: with no success in a the lower
    end is 0, with none in b the upper end is infinite, with none in both the interval is [0, inf], and all of
    these come from the same test. Raises `DataError` as `wilson_interval`.
    Source: Koopman, P. A. R. (1984), "Confidence intervals for the ratio of two binomial proportions",
    Biometrics 40:513-517; the statistic in the form of Miettinen, O. and Nurminen, M. (1985), Stat. Med.
    4:213-226, eq. 9 and 10, without their factor N / (N - 1).
    """
    _check(successes_a, trials_a)
    _check(successes_b, trials_b)
    z = normal_quantile(confidence)

    def surplus(log_ratio: float) -> float:
        return _ratio_score(math.exp(log_ratio), successes_a, trials_a, successes_b, trials_b)

    start = math.log((successes_a + 0.5) / (trials_a + 0.5) * (trials_b + 0.5) / (successes_b + 0.5))
    return Interval(
        low=0.0 if successes_a == 0 else math.exp(_falling_root(lambda x: surplus(x) - z, start)),
        high=math.inf if successes_b == 0 else math.exp(_falling_root(lambda x: surplus(x) + z, start)),
    )


def _ratio_score(ratio: float, successes_a: float, trials_a: float, successes_b: float, trials_b: float) -> float:
    """Return the standardised surplus of rate a over ratio x rate b; it falls as the ratio grows."""
    # The rates of greatest likelihood among those with a = ratio x b: the smaller root of A b^2 - B b + C.
    A = (trials_a + trials_b) * ratio
    B = (trials_a + successes_b) * ratio + successes_a + trials_b
    C = successes_a + successes_b
    # Written so that nothing cancels when the root is small.
    b = 2 * C / (B + math.sqrt(max(0.0, B * B - 4 * A * C)))
    a = ratio * b
    variance = a * max(0.0, 1 - a) / trials_a + ratio * ratio * b * max(0.0, 1 - b) / trials_b
    difference = successes_a / trials_a - ratio * successes_b / trials_b
    return difference / math.sqrt(variance) if variance > 0 else 0.0


def _falling_root(function: Callable[[float], float], start: float) -> float:
    """Return where a falling function crosses zero, searched outwards from ``start``."""
    from scipy.optimize import brentq

    low, high, step = start, start, 0.5
    while function(low) < 0:
        low, step = low - step, 2 * step
    while function(high) > 0:
        high, step = high + step, 2 * step
    return float(brentq(function, low, high, xtol=1e-10)) if low < high else low


def _check(successes: float, trials: float) -> None:
    if trials <= 0:
        raise DataError("a rate without examples is undefined and has no interval")
    if not 0 <= successes <= trials:
        raise DataError(f"successes must be between 0 and {trials}, not {successes}")


def mean_interval(successes: Counts, rows: Counts, *, confidence: float) -> Interval:
    """Return the interval of the mean of several rates (clients or classes), each counted once.

    It holds every mean m' with ``|m - m'| <= z sqrt(V(m'))``, where V is the largest variance of the estimate among
    all rates of that mean: for one rate, or rates of as many rows each, Wilson's interval of all rows (Wilson 1927).
    Successes and rows have shape (rates,), all rows over 0.
    """
    mean, z = float((successes / rows).mean()), normal_quantile(confidence)
    weights = 1.0 / (float(len(rows)) ** 2 * rows.astype(np.float64))
    return Interval(low=_lower_end(mean, weights, z), high=1.0 - _lower_end(1.0 - mean, weights, z))


def _lower_end(mean: float, weights: NDArray[np.float64], z: float) -> float:
    """Return the smallest m' with ``mean - m' <= z sqrt(V(m'))``.

    ``V(m')``, the largest ``sum w_i p_i (1 - p_i)`` of rates p_i with mean m', is reached where every p_i is
    ``(1 - t / w_i) / 2``, cut to [0, 1] (Lagrange). As t goes from -max w to max w, m' falls from 1 to 0, and the bound
    is crossed once, since the root of V is concave.
    """
    low, high = -float(weights.max()), float(weights.max())
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        rates = np.clip((1 - middle / weights) / 2, 0.0, 1.0)
        far = mean - float(rates.mean()) > z * math.sqrt(float((weights * rates * (1 - rates)).sum()))
        low, high = (low, middle) if far else (middle, high)
    return min(mean, float(np.clip((1 - high / weights) / 2, 0.0, 1.0).mean()))
