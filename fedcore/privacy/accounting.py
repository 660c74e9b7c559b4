"""ε of events, by Google's privacy-loss-distribution accountant (``dp-accounting``).

Discretised pessimistically, so that what is reported is an upper bound (connect the dots; Doroshenko et al.
2022, arXiv 2207.04380). Opacus' Gaussian accountant is never used: for sampled mechanisms it reports less
than the truth. ε of rounds are composed, not added.
"""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import numpy as np

from fedcore.errors import PrivacyError
from fedcore.privacy.plan import PrivacyEvent

_FINEST_DISCRETISATION = 1e-3
_SMALLEST_NOISE = 1e-3
_LARGEST_NOISE = 1e5


def accountant_description(events: Iterable[PrivacyEvent]) -> dict[str, Any]:
    """Name, version and settings of the accountant for these events, for the privacy statement."""
    return {
        "name": "dp_accounting.pld.PLDAccountant",
        "version": importlib.metadata.version("dp-accounting"),
        "value_discretization_interval": _discretisation(events),
        "upper_bound": True,
    }


@lru_cache(maxsize=4096)
def epsilon_of(events: tuple[PrivacyEvent, ...] | PrivacyEvent, delta: float) -> float:
    """Smallest ε proven for all of `events` together at `delta`.

    Guarantee:
        An upper bound for neighbours that differ in one record, blanked or removed (both give the same
        value for the Poisson-subsampled Gaussian). Valid where the events' parameters were fixed before
        the run; composition of adaptively chosen ones needs a filter.

    Returns:
        0 for no events; infinity where an event has no noise, or so little that ε would be in the millions.
    """
    listed = (events,) if isinstance(events, PrivacyEvent) else events
    active = [event for event in listed if event.steps > 0]
    if not active:
        return 0.0
    if any(event.noise_multiplier < _SMALLEST_NOISE for event in active):
        return math.inf
    accountant = _new_accountant(_discretisation(active))
    with np.errstate(over="ignore"):  # of a loss beyond float64, which then counts as infinite
        for event in active:
            accountant.compose(_as_dp_event(event))
        return max(0.0, float(accountant.get_epsilon(delta)))


@lru_cache(maxsize=256)
def calibrate_noise_multiplier(*, epsilon: float, delta: float, sampling_rate: float, steps: int) -> float:
    """The smallest noise multiplier, to four decimals, for which `steps` steps keep (`epsilon`, `delta`).

    Returns:
        A multiplier whose ε by `epsilon_of` is at most `epsilon`, never a hair more.

    Raises:
        PrivacyError: No multiplier in the range that is searched reaches the target.
    """

    def spent(noise_multiplier: float) -> float:
        event = PrivacyEvent(sampling_rate=sampling_rate, noise_multiplier=noise_multiplier, steps=steps)
        return epsilon_of(event, delta)

    low, high = _bracket(spent, epsilon)
    while high / low > 1.0005:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if spent(middle) > epsilon else (low, middle)
    rounded = math.ceil(high * 1e4) / 1e4
    return rounded if spent(rounded) <= epsilon else high


def rounded_up(epsilon: float, decimals: int = 2) -> float:
    """ε for people to read: never less than what was spent."""
    scale = 10.0**decimals
    return math.ceil(epsilon * scale) / scale


def _bracket(spent: Callable[[float], float], epsilon: float) -> tuple[float, float]:
    """Two multipliers a factor 2 apart, the upper of which keeps the target; found from the noisy side."""
    high = 1.0
    while spent(high) > epsilon:
        high *= 2.0
        if high > _LARGEST_NOISE:
            raise PrivacyError(
                f"no noise multiplier up to {_LARGEST_NOISE:g} keeps epsilon {epsilon:g}; ask for a larger epsilon, "
                "fewer rounds or fewer steps"
            )
    while spent(high / 2.0) <= epsilon:
        high /= 2.0
    return high / 2.0, high


def composed_epsilons(per_round: PrivacyEvent, rounds: Iterable[int], delta: float) -> list[float]:
    """ε after each of the given numbers of rounds."""
    return [
        epsilon_of(
            PrivacyEvent(
                sampling_rate=per_round.sampling_rate,
                noise_multiplier=per_round.noise_multiplier,
                steps=per_round.steps * number,
            ),
            delta,
        )
        for number in rounds
    ]


def composed_epsilon(events: Iterable[PrivacyEvent], delta: float) -> float:
    """Smallest ε proven for any number of events together, whoever chose their parameters.

    Guarantee:
        That of `epsilon_of`: events of one mechanism are joined, which changes nothing about what is released.

    Returns:
        Infinity also where the accountant cannot compute: what has no bound must not pass for a small one.
    """
    steps: dict[tuple[float, float], int] = {}
    for event in events:
        mechanism = (event.sampling_rate, event.noise_multiplier)
        steps[mechanism] = steps.get(mechanism, 0) + event.steps
    joined = tuple(
        PrivacyEvent(sampling_rate=sampling_rate, noise_multiplier=noise_multiplier, steps=number)
        for (sampling_rate, noise_multiplier), number in sorted(steps.items())
    )
    try:
        epsilon = epsilon_of(joined, delta)
    except (ArithmeticError, ValueError, MemoryError):
        return math.inf
    return math.inf if math.isnan(epsilon) else epsilon


def _discretisation(events: Iterable[PrivacyEvent]) -> float:
    """Width of the accountant's bins: coarser where ε is in the hundreds, and always pessimistic.

    A fixed width would need memory for losses up to T / (2 σ²): gigabytes for noise far too small to
    protect anything, whose ε must still be reported.
    """
    widest = 0.0
    for event in events:
        single = 1.0 / max(event.noise_multiplier, _SMALLEST_NOISE)
        amplified = event.sampling_rate * math.sqrt(math.expm1(min(single**2, 700.0)))
        composed = math.sqrt(event.steps) * (single if event.sampling_rate == 1.0 else min(single, amplified))
        widest = max(widest, *(mu * mu / 2.0 + 10.0 * mu for mu in (single, composed)))
    return max(_FINEST_DISCRETISATION, 1e-5 * widest)


def _new_accountant(discretisation: float) -> Any:
    from dp_accounting import NeighboringRelation
    from dp_accounting.pld import PLDAccountant

    return PLDAccountant(NeighboringRelation.ADD_OR_REMOVE_ONE, value_discretization_interval=discretisation)


def _as_dp_event(event: PrivacyEvent) -> Any:
    from dp_accounting import dp_event

    gaussian = dp_event.GaussianDpEvent(event.noise_multiplier)
    if event.sampling_rate < 1.0:
        return dp_event.SelfComposedDpEvent(dp_event.PoissonSampledDpEvent(event.sampling_rate, gaussian), event.steps)
    return dp_event.SelfComposedDpEvent(gaussian, event.steps)
