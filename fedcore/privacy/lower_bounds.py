"""Lower bounds on ε from guesses about canaries, and the highest bound that such a test can show.

A canary is an artificial record that a fair coin puts into the training data or not. Guessing the coins from the
release better than ε permits proves that the claim is false.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from fedcore.errors import PrivacyError
from fedcore.privacy.gaussian import gaussian_epsilon

_LARGEST_EPSILON = 200.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LowerBound:
    """A claim "ε is at least this", with its certainty.

    Attributes:
        epsilon: 0 if nothing was shown.
        ceiling: The largest value that this test could have shown; infinite without one.
        p: Probability of a larger value than the truth, under the method's assumption.
    """

    epsilon: float
    ceiling: float
    p: float
    method: str
    assumption: str


def one_run_epsilon(*, canaries: int, guesses: int, correct: int, delta: float, p: float = 0.05) -> float:
    """Lower bound from one run, without any assumption about the mechanism.

    Steinke, Nasr and Jagielski 2023, "Privacy auditing with one (1) training run", arXiv 2305.08846, theorem 5.2 and
    appendix D.

    Args:
        canaries: Canaries, each with a fair coin of its own.
        guesses: Number of guesses made; chosen before looking at the coins.

    Raises:
        PrivacyError: The counts are impossible, or `delta` and `p` are not probabilities.
    """
    if not (0 <= correct <= guesses <= canaries and canaries > 0 and 0 <= delta < 1 and 0 < p < 1):
        raise PrivacyError("an audit needs 0 <= correct <= guesses <= canaries, delta in [0, 1) and p in (0, 1)")
    return _largest_refuted(lambda epsilon: _one_run_p(canaries, guesses, correct, delta, epsilon), p)


def one_run_ceiling(*, guesses: int, p: float = 0.05) -> float:
    """The bound of `one_run_epsilon` if all guesses are right and δ is 0: the highest a run can show."""
    if guesses == 0:
        return 0.0
    share = p ** (1.0 / guesses)
    return max(0.0, math.log(share / (1.0 - share)))


def gaussian_one_run_epsilon(*, canaries: int, guesses: int, correct: int, delta: float, p: float = 0.05) -> float:
    """Lower bound from one run against mechanisms that are Gaussian; tighter than `one_run_epsilon`.

    Mahloujifar, Melis and Chaudhuri 2024, "Auditing f-differential privacy in one run", arXiv 2410.22235, algorithm 3.
    """

    def refuted(mu: float) -> bool:
        right, wrong = p * correct / canaries, p * (guesses - correct) / canaries
        for index in range(correct - 1, -1, -1):
            larger = max(wrong, float(stats.norm.cdf(stats.norm.ppf(right) - mu)))
            if larger == wrong:
                break
            right = min(1.0, right + index / (guesses - index) * (larger - wrong))
            wrong = larger
        return right + wrong > guesses / canaries

    if correct == 0 or not refuted(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while refuted(high) and high < 50.0:
        low, high = high, 2.0 * high
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return gaussian_epsilon(low, delta)


def canary_mu(inside: Sequence[float], outside: Sequence[float], *, p: float) -> tuple[float, float]:
    """An estimate and a lower bound of μ of Gaussian differential privacy from two or more scores each.

    The lower bound is too large with probability about `p`; both are 0 or more.
    """
    ins, outs = np.asarray(inside, dtype=np.float64), np.asarray(outside, dtype=np.float64)
    if len(ins) < 2 or len(outs) < 2:
        raise PrivacyError("an audit needs two canaries at least on each side of the coin; take more of them")
    spread = float(outs.std(ddof=1))
    if spread == 0.0:
        return (math.inf, math.inf) if float(ins.mean()) != float(outs.mean()) else (0.0, 0.0)
    mu = (float(ins.mean()) - float(outs.mean())) / spread
    error = math.sqrt(1.0 / len(ins) + 1.0 / len(outs) + mu * mu / (2.0 * len(outs)))
    return max(0.0, mu), max(0.0, mu - float(stats.norm.isf(p)) * error)


def best_guesses(scores: Sequence[float], coins: Sequence[bool], guesses: int) -> int:
    """How many are right if half of the guesses are "in" for the highest scores, half "out" for the lowest."""
    order, truth = np.argsort(np.asarray(scores), kind="stable"), np.asarray(coins, dtype=bool)
    half = guesses // 2
    return int(truth[order[len(order) - (guesses - half) :]].sum() + (~truth[order[:half]]).sum())


def _one_run_p(canaries: int, guesses: int, correct: int, delta: float, epsilon: float) -> float:
    """Probability of so many right guesses if the claim were true."""
    right = 1.0 / (1.0 + math.exp(-epsilon))
    beta = float(stats.binom.sf(correct - 1, guesses, right))
    steps = np.arange(1, correct + 1)
    gains = (stats.binom.sf(correct - 1 - steps, guesses, right) - beta) / steps
    alpha = float(gains.max(initial=0.0))
    return min(1.0, beta + 2.0 * canaries * delta * alpha)


def _largest_refuted(p_of: Callable[[float], float], p: float) -> float:
    if p_of(0.0) >= p:
        return 0.0
    low, high = 0.0, 1.0
    while p_of(high) < p and high < _LARGEST_EPSILON:
        low, high = high, 2.0 * high
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (middle, high) if p_of(middle) < p else (low, middle)
    return low
