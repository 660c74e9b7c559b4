"""Gaussian differential privacy in closed form: mechanisms with normal noise and without sampling."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_CAUTION = 1e-10


def gaussian_delta(mu: float, epsilon: float) -> float:
    """The exact δ at ε of a mechanism that is μ-Gaussian differentially private.

    Source: Balle and Wang 2018 (arXiv 1805.06530), Theorem 8; Dong, Roth and Su 2019 (arXiv 1905.02383), Corollary 1.
    """
    return float(gaussian_deltas(mu, np.array([epsilon]))[0])


def gaussian_deltas(mu: float, epsilons: NDArray[np.float64]) -> NDArray[np.float64]:
    """`gaussian_delta` at each of `epsilons`; same shape."""
    from scipy.special import log_ndtr

    if mu <= 0.0:
        return np.zeros_like(epsilons)
    near = np.exp(log_ndtr(mu / 2.0 - epsilons / mu))
    far = np.exp(np.minimum(0.0, epsilons + log_ndtr(-mu / 2.0 - epsilons / mu)))
    deltas: NDArray[np.float64] = np.maximum(0.0, near - far)
    return deltas


def gaussian_epsilon(mu: float, delta: float) -> float:
    """ε of μ-Gaussian differential privacy at `delta`: the inverse of `gaussian_delta`, from above.

    Guarantee:
        `gaussian_delta` at the result is at most `delta`; the result is within 1e-9 of the smallest such ε, relative
        above 1.
    """
    from scipy.optimize import brentq

    if mu <= 0.0 or gaussian_delta(mu, 0.0) <= delta:
        return 0.0
    high = mu * mu / 2.0 + mu * 10.0
    while gaussian_delta(mu, high) > delta:
        high *= 2.0
    found = float(brentq(lambda epsilon: gaussian_delta(mu, epsilon) - delta, 0.0, high, xtol=1e-12))
    while gaussian_delta(mu, found) > delta:
        found += _CAUTION * max(1.0, found)
    return found
