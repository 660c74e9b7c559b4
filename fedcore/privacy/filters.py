"""Budgets over runs whose parameters were chosen after earlier results were seen.

Composition of a privacy loss distribution is tight, and proven for parameters fixed beforehand. A
data owner's account spans runs that others choose after seeing the results of earlier ones, and
needs a *privacy filter*: a stopping rule that holds for every such choice. Here are the proven ones,
as numbers: exact Gaussian differential privacy, Rényi divergence of one fixed order, and steps of one
reference mechanism.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fedcore.errors import PrivacyError
from fedcore.privacy.accounting import composed_epsilon
from fedcore.privacy.gaussian import gaussian_delta
from fedcore.privacy.plan import PrivacyEvent, Relation

_SMALLEST_SAMPLED_NOISE = 0.05
_REACH = 12.0
_SMALL_MOMENT = 0.1
_MOST_STEPS = 10**7


def gaussian_mu(epsilon: float, delta: float) -> float:
    """The largest μ for which a μ-Gaussian differentially private mechanism keeps (ε, δ), rounded down.

    Guarantee:
        Unsampled Gaussian mechanisms with Σ 1/σ² at most μ² keep (ε, δ) together, also where each σ was chosen
        after earlier results were seen (Smith and Thakurta 2022, arXiv 2210.17520; Koskela, Tobaben and Honkela
        2022, arXiv 2209.15596).
    """
    return _largest(lambda mu: gaussian_delta(mu, epsilon) <= delta, start=1.0)


def conversion(order: float, delta: float) -> float:
    """The difference between ε and the Rényi divergence of `order` at δ: the c of ε = divergence + c.

    Source: Canonne, Kamath and Steinke 2020 (arXiv 2004.00010), Proposition 12.
    """
    return math.log1p(-1.0 / order) - (math.log(delta) + math.log(order)) / (order - 1.0)


def best_order(epsilon: float, delta: float) -> float:
    """The Rényi order, to three decimals, at which (ε, δ) allows the most unsampled Gaussian mechanisms.

    Raises:
        PrivacyError: No order leaves any budget.
    """

    def worth(order: float) -> float:
        return (epsilon - conversion(order, delta)) / order

    orders = 1.0 + np.geomspace(1e-3, 1e7, 4001)
    start = float(orders[int(np.argmax([worth(float(order)) for order in orders]))]) - 1.0
    low, high = math.log(start / 1.02), math.log(start * 1.02)
    for _ in range(60):  # the worth has one maximum
        left, right = low + (high - low) / 3.0, high - (high - low) / 3.0
        low, high = (left, high) if worth(1.0 + math.exp(left)) < worth(1.0 + math.exp(right)) else (low, right)
    found = max(1.001, round(1.0 + math.exp(low), 3))
    if worth(found) <= 0.0:
        raise PrivacyError(f"ε = {epsilon:g} at δ = {delta:g} leaves nothing to be spent; ask for a larger ε or δ")
    return found


@lru_cache(maxsize=1024)
def renyi_divergence(event: PrivacyEvent, order: float, relation: Relation = Relation.ZERO_OUT) -> float:
    """The Rényi divergence of `order` between neighbours that differ in one record, over all steps of an event.

    Guarantee:
        Events with a sum of at most B, at one order that was fixed before the first, keep ε = B + `conversion`
        together at δ, also where each was chosen after earlier results were seen (Feldman and Zrnic 2021, arXiv
        2008.11193; Lécuyer 2021, arXiv 2103.01379). One step is the Poisson-subsampled Gaussian (Mironov, Talwar
        and Zhang 2019, arXiv 1908.10530, Theorem 4 and Section 3.3), by quadrature. Under replace-one the sum has
        the mean 1 or the mean -1 where the record is drawn: the pair that dominates every other, as in
        ``dp_accounting`` (Zhu, Dong and Wang 2022, arXiv 2106.08567; Doroshenko et al. 2022, arXiv 2207.04380).
    """
    if event.steps == 0 or event.sampling_rate == 0.0:
        return 0.0
    if event.noise_multiplier <= 0.0:
        return math.inf
    unsampled = order * relation.moved**2 / (2.0 * event.noise_multiplier**2)
    if event.sampling_rate == 1.0 or event.noise_multiplier < _SMALLEST_SAMPLED_NOISE:
        return event.steps * unsampled  # sampling never costs more than none
    sampled = _sampled_divergence(event.sampling_rate, event.noise_multiplier, order, relation)
    return event.steps * min(unsampled, sampled)


def _sampled_divergence(rate: float, noise: float, order: float, relation: Relation) -> float:
    """The value of log E_Q[(P / Q)^α] / (α - 1) by the trapezoidal rule.

    P is (1 - q) N(0, σ²) + q N(1, σ²), and Q is N(0, σ²), or under replace-one (1 - q) N(0, σ²) + q N(-1, σ²). The rule
    converges exponentially for such integrands; the width is small against the distance of the nearest singularity,
    πσ² off the real line.
    """
    replaced = relation is Relation.REPLACE_ONE
    width = min(noise / 32.0, noise * noise / 4.0)
    low, high = (-1.0, 2.0 * order - 1.0) if replaced else (0.0, order)
    z = np.arange(low - _REACH * noise, high + _REACH * noise, width)

    def over_normal(mean: float) -> NDArray[np.float64]:
        """Log of the density of a mixture over that of N(0, σ²)."""
        moved: NDArray[np.float64] = math.log(rate) + (2.0 * mean * z - 1.0) / (2.0 * noise * noise)
        return np.logaddexp(math.log1p(-rate), moved)

    base = over_normal(-1.0) if replaced else np.zeros_like(z)
    ratio = over_normal(1.0) - base
    density = base - z * z / (2.0 * noise * noise) + math.log(width / (noise * math.sqrt(2.0 * math.pi)))
    moment = float(np.logaddexp.reduce(order * ratio + density))
    if moment < _SMALL_MOMENT:  # so near to 1 that it would be lost in rounding: E[ratio] is 1, and every term positive
        excess = np.expm1(order * ratio) - order * np.expm1(ratio)
        moment = math.log1p(float(np.sum(excess * np.exp(density))))
    return moment / (order - 1.0)


def most_steps(
    *,
    epsilon: float,
    delta: float,
    sampling_rate: float,
    noise_multiplier: float,
    relation: Relation = Relation.ZERO_OUT,
) -> int:
    """How many steps of one reference mechanism keep (ε, δ); at most ten million.

    Guarantee:
        So many steps keep (ε, δ) together, in whatever runs, also if runs are chosen after earlier results were
        seen, if each samples at most as often and adds at least as much noise as the reference: such a step is a
        post-processing of a reference step, so that the whole is an adaptive composition of equal mechanisms.
    """

    def keeps(steps: int) -> bool:
        event = PrivacyEvent(sampling_rate=sampling_rate, noise_multiplier=noise_multiplier, steps=steps)
        return composed_epsilon([event], delta, relation) <= epsilon

    high = 1
    while high < _MOST_STEPS and keeps(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if keeps(middle) else (low, middle)
    return min(low, _MOST_STEPS)


def _largest(fits: Callable[[float], bool], *, start: float) -> float:
    """The largest number that fits; all smaller ones fit."""
    low = start
    while not fits(low):
        low /= 2.0
    high = 2.0 * low
    while fits(high):
        low, high = high, 2.0 * high
    while high - low > 1e-12 * high:
        middle = (low + high) / 2.0
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
