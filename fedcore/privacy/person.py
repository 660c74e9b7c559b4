"""ε of a person with several records."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np

from fedcore.errors import PrivacyError
from fedcore.privacy.accounting import PrivacyLosses, discretisation, epsilon_of, new_accountant
from fedcore.privacy.plan import PrivacyEvent, Relation

_MOST_RECORDS = 1000
_SMALLEST_NOISE = 1e-3
_LARGEST_EPSILON = 300.0
_COARSEST_BINS, _BIN_ERROR = 1e-2, 0.025


@lru_cache(maxsize=256)
def person_epsilon(event: PrivacyEvent, records: int, delta: float, relation: Relation = Relation.ZERO_OUT) -> float:
    """Smallest ε proven at `delta` for a person with `records` records among the rows of one client.

    Guarantee:
        Under zero-out and add-remove: all of the person's records are blanked or removed. In a step a number of
        them is drawn that is binomial, and each moves the sum by at most the clip norm, in one direction at the
        worst: the mixture-of-Gaussians mechanism (``dp_accounting``), exact up to its bins. Under replace-one an
        upper bound: with probability (1-q)^k no record of the person is drawn in either data set, and else the
        sums differ by at most 2k clip norms, which is the Gaussian of that sensitivity, Poisson-sampled with
        rate 1-(1-q)^k (advanced joint convexity; Balle, Barthe and Gaboardi 2018, arXiv 1807.01647, theorem 2);
        or blanking followed by its reverse, whichever proves less.
        A person with records at several clients is not covered: compose one ε for each.

    Raises:
        PrivacyError: The number of records is not between 1 and 1000.
    """
    if not 1 <= records <= _MOST_RECORDS:
        raise PrivacyError(f"records of a person: expected 1 to {_MOST_RECORDS}, found {records}")
    if records == 1 or event.steps == 0:
        return epsilon_of(event, delta, relation)
    if event.noise_multiplier / records < _SMALLEST_NOISE:
        return math.inf
    if event.sampling_rate == 1.0:
        return epsilon_of(_scaled(event, event.noise_multiplier / records), delta, relation)
    if relation is Relation.REPLACE_ONE:
        return min(epsilon_of(_any_of(event, records), delta), _through_blank(_mixture_losses(event, records), delta))
    return _mixture_losses(event, records).epsilon(delta)


def _scaled(event: PrivacyEvent, noise_multiplier: float, sampling_rate: float | None = None) -> PrivacyEvent:
    rate = event.sampling_rate if sampling_rate is None else sampling_rate
    return PrivacyEvent(sampling_rate=rate, noise_multiplier=noise_multiplier, steps=event.steps)


def _any_of(event: PrivacyEvent, records: int) -> PrivacyEvent:
    """As if a step moved the sum by 2k clip norms whenever any of the records is drawn."""
    rate = -math.expm1(records * math.log1p(-event.sampling_rate))
    return _scaled(event, event.noise_multiplier / (2.0 * records), min(1.0, rate))


def _through_blank(losses: PrivacyLosses, delta: float) -> float:
    """ε of blanking and then filling in again: 2ε' at δ' (1 + e^ε'), for the smallest ε' that keeps `delta`."""

    def keeps(epsilon: float) -> bool:
        return losses.delta(epsilon) * (1.0 + math.exp(epsilon)) <= delta

    high = 1.0
    while not keeps(high):
        high *= 2.0
        if high > _LARGEST_EPSILON:
            return math.inf
    low = 0.0
    while high - low > 1e-4:
        middle = (low + high) / 2.0
        low, high = (low, middle) if keeps(middle) else (middle, high)
    return 2.0 * high


def _mixture_losses(event: PrivacyEvent, records: int) -> PrivacyLosses:
    """Losses of all steps, first in bins wide enough for any, then in bins as fine as the first allows."""
    drawn, shares = _binomial(records, event.sampling_rate)
    largest = _scaled(event, event.noise_multiplier / drawn[-1])
    coarse = discretisation((largest,), Relation.ZERO_OUT)
    losses = _composed(event, drawn, shares, coarse)
    one_step = discretisation((replace(largest, steps=1, sampling_rate=1.0),), Relation.ZERO_OUT)
    fine = max(min(_COARSEST_BINS, _BIN_ERROR / math.sqrt(event.steps)), one_step, 2e-5 * losses.epsilon(1e-10))
    return _composed(event, drawn, shares, fine) if fine < coarse / 2.0 else losses


def _composed(event: PrivacyEvent, drawn: list[float], shares: list[float], bins: float) -> PrivacyLosses:
    from dp_accounting import dp_event

    accountant = new_accountant(bins, Relation.ZERO_OUT)
    step = dp_event.MixtureOfGaussiansDpEvent(event.noise_multiplier, drawn, shares)
    with np.errstate(over="ignore"):
        accountant.compose(dp_event.SelfComposedDpEvent(step, event.steps))
    return PrivacyLosses(accountant)


def _binomial(records: int, rate: float) -> tuple[list[float], list[float]]:
    """How many of the records are drawn, with probabilities; what is rarer than 1e-30 counts as all of them."""
    from scipy.stats import binom

    numbers = np.arange(records + 1)
    shares = binom.pmf(numbers, records, rate)
    kept = (shares > 1e-30) | (numbers == records)
    kept_shares = shares[kept]
    kept_shares[-1] += max(0.0, 1.0 - float(kept_shares.sum()))
    return [float(number) for number in numbers[kept]], [float(share) for share in kept_shares]
