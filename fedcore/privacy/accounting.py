"""ε of events: in closed form without sampling, else by Google's privacy-loss-distribution accountant.

That accountant (``dp-accounting``) is discretised pessimistically, so that results are upper bounds (connect
the dots; Doroshenko et al. 2022, arXiv 2207.04380). Opacus' Gaussian accountant is never used: for sampled mechanisms
it reports less than the truth. ε of rounds are composed, not added.

An event describes a mechanism, not a claim: its noise is relative to the clip norm. The relation of neighbours is
given when ε is computed, and one event has one ε for each relation.
"""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcore.errors import PrivacyError
from fedcore.privacy.gaussian import gaussian_deltas, gaussian_epsilon
from fedcore.privacy.plan import PrivacyEvent, Relation

_COARSEST_BINS = 1e-3
_FINEST_BINS = 2.5e-5
_BIN_ERROR = 3e-4
_SMALLEST_NOISE = 1e-3
_LARGEST_NOISE = 1e5
_LINES = 5
MOST_SAMPLED_STEPS = 2_000_000
"""Steps with sampling that are composed; beyond, ``dp_accounting`` may need hours for powers of whole numbers."""
_GRID = 2048  # trials of noise within a factor of 2: 0.034 % apart


def accountant_description(events: Iterable[PrivacyEvent], relation: Relation = Relation.ZERO_OUT) -> dict[str, Any]:
    """Name, version and settings of the accountant for these events, for the privacy statement."""
    if _closed_form(tuple(events := list(events)), relation) is not None:
        return {
            "name": "closed form of the Gaussian mechanism (Balle and Wang 2018, arXiv 1805.06530, theorem 8)",
            "relation": _dp_relation(relation).name,
            "upper_bound": True,
        }
    return {
        "name": "dp_accounting.pld.PLDAccountant",
        "version": importlib.metadata.version("dp-accounting"),
        "relation": _dp_relation(relation).name,
        "value_discretization_interval": discretisation(tuple(events), relation),
        "upper_bound": True,
    }


@lru_cache(maxsize=4096)
def epsilon_of(
    events: tuple[PrivacyEvent, ...] | PrivacyEvent, delta: float, relation: Relation = Relation.ZERO_OUT
) -> float:
    """Smallest ε proven for all of `events` together at `delta`.

    Guarantee:
        An upper bound for neighbours by `relation`: one record blanked or removed (both give the same value
        for the Poisson-subsampled Gaussian), or replaced by another. Valid where the events' parameters were
        fixed before the run; composition of adaptively chosen ones needs a filter.

    Returns:
        0 for no events; infinity if an event has no noise or less than 1e-3, or if events sample and ε would be
        in the millions, or steps exceed `MOST_SAMPLED_STEPS`.
    """
    composed = privacy_losses(events, relation)
    return 0.0 if composed is None else composed.epsilon(delta)


@dataclass(frozen=True, slots=True)
class PrivacyLosses:
    """The privacy losses of composed events: every (ε, δ) that they keep.

    Attributes:
        accountant: One of ``dp_accounting``; ``None`` without noise: every loss is infinite.
        mu: Of Gaussian differential privacy, if exact; the accountant is then not used.
    """

    accountant: Any | None
    mu: float | None = None

    def epsilon(self, delta: float) -> float:
        """Smallest ε proven at `delta`."""
        if self.mu is not None:
            return gaussian_epsilon(self.mu, delta)
        if self.accountant is None:
            return math.inf
        with np.errstate(over="ignore"):  # of a loss beyond float64, which then counts as infinite
            return max(0.0, float(self.accountant.get_epsilon(delta)))

    def delta(self, epsilon: float) -> float:
        """Smallest δ proven at `epsilon`."""
        return float(self.deltas(np.array([epsilon]))[0])

    def deltas(self, epsilons: NDArray[np.float64]) -> NDArray[np.float64]:
        """Smallest δ proven at each of `epsilons`, which ascend; same shape."""
        if self.mu is not None:
            return gaussian_deltas(self.mu, epsilons)
        if self.accountant is None:
            return np.ones_like(epsilons)
        with np.errstate(over="ignore"):
            return np.clip(np.asarray(self.accountant.get_delta(epsilons), dtype=np.float64), 0.0, 1.0)


@lru_cache(maxsize=8)  # each may hold millions of numbers
def privacy_losses(
    events: tuple[PrivacyEvent, ...] | PrivacyEvent, relation: Relation = Relation.ZERO_OUT
) -> PrivacyLosses | None:
    """Compose events; ``None`` without events: nothing is lost.

    Guarantee:
        That of `epsilon_of`, at every δ.
    """
    listed = (events,) if isinstance(events, PrivacyEvent) else events
    active = tuple(event for event in listed if event.steps > 0)
    if not active:
        return None
    if any(event.noise_multiplier < _SMALLEST_NOISE or _is_too_long(event) for event in active):
        return PrivacyLosses(None)
    if (mu := _closed_form(active, relation)) is not None:
        return PrivacyLosses(None, mu)
    accountant = new_accountant(discretisation(active, relation), relation)
    try:
        with np.errstate(over="ignore"):
            for event in active:
                accountant.compose(_as_dp_event(event))
    except OverflowError:  # bins so wide that e to their width is beyond float64: ε is in the tens of millions
        return PrivacyLosses(None)
    return PrivacyLosses(accountant)


def _closed_form(events: tuple[PrivacyEvent, ...], relation: Relation) -> float | None:
    """μ of events without sampling, which compose to one Gaussian mechanism; ``None`` if one samples."""
    if any(event.sampling_rate < 1.0 or event.noise_multiplier <= 0.0 for event in events):
        return None
    return relation.moved * math.sqrt(sum(event.steps / event.noise_multiplier**2 for event in events))


def _is_too_long(event: PrivacyEvent) -> bool:
    return event.sampling_rate < 1.0 and event.steps > MOST_SAMPLED_STEPS


@lru_cache(maxsize=256)
def calibrate_noise_multiplier(
    *, epsilon: float, delta: float, sampling_rate: float, steps: int, relation: Relation = Relation.ZERO_OUT
) -> float:
    """The smallest noise multiplier, to four decimals, for which `steps` steps keep (`epsilon`, `delta`).

    Returns:
        Standard deviation of the noise over the clip norm, whose ε by `epsilon_of` never exceeds `epsilon`.

    Raises:
        PrivacyError: No multiplier in the searched range reaches the target.
    """
    if sampling_rate < 1.0 and steps > MOST_SAMPLED_STEPS:
        raise PrivacyError(
            f"{steps:,} sampled steps are more than the {MOST_SAMPLED_STEPS:,} that can be accounted for"
        )

    def spent(noise_multiplier: float) -> float:
        event = PrivacyEvent(sampling_rate=sampling_rate, noise_multiplier=noise_multiplier, steps=steps)
        return epsilon_of(event, delta, relation)

    found = _smallest(spent, epsilon, above=_bracket(spent, epsilon))
    rounded = math.ceil(found * 1e4) / 1e4
    return rounded if spent(rounded) <= epsilon else found


def rounded_up(epsilon: float, decimals: int = 2) -> float:
    """ε for display: never less than was spent."""
    scale = 10.0**decimals
    return math.ceil(epsilon * scale) / scale


def _bracket(spent: Callable[[float], float], epsilon: float) -> float:
    """The largest power of two that misses the target; found from the noisy side, where ε is cheap to compute.

    ε falls about as noise grows, so that the overshoot of one trial gives the next step.
    """
    high = 1.0
    while (found := spent(high)) > epsilon:
        if 2.0 * high > _LARGEST_NOISE:
            raise PrivacyError(
                f"no noise multiplier up to {_LARGEST_NOISE:g} keeps epsilon {epsilon:g}; ask for a larger epsilon, "
                "fewer rounds or fewer steps"
            )
        high *= 2.0 ** max(1, math.floor(math.log2(found / epsilon))) if math.isfinite(found) else 2.0
        high = min(high, 2.0 ** math.floor(math.log2(_LARGEST_NOISE)))
    while spent(high / 2.0) <= epsilon:
        high /= 2.0
    return high / 2.0


def _smallest(spent: Callable[[float], float], epsilon: float, *, above: float) -> float:
    """The first multiplier that keeps the target, of `_GRID` in geometric steps between `above` and its double.

    In logarithms ε is nearly straight over noise, so that a line between two trials finds the place in a few of them,
    each of which composes a whole run; bisection is the fallback.
    """

    def noise_at(index: int) -> float:
        return above * math.exp2(index / _GRID)

    def excess(index: int) -> float:
        found = spent(noise_at(index))
        return math.log(found / epsilon) if 0.0 < found < math.inf else math.copysign(math.inf, found - epsilon)

    low, high, low_excess, high_excess = 0, _GRID, excess(0), excess(_GRID)
    trials = 0
    while high - low > 1:
        straight = math.isfinite(low_excess - high_excess) and trials % (_LINES + 1) < _LINES
        share = low_excess / (low_excess - high_excess) if straight else 0.5
        middle = min(high - 1, max(low + 1, low + math.ceil(share * (high - low))))
        trials, found = trials + 1, excess(middle)
        if found > 0.0:
            low, low_excess = middle, found
        else:
            high, high_excess = middle, found
    return noise_at(high)


def composed_epsilon(events: Iterable[PrivacyEvent], delta: float, relation: Relation = Relation.ZERO_OUT) -> float:
    """Smallest ε proven for any events together, no matter who chose their parameters.

    Guarantee:
        That of `epsilon_of`: events of one mechanism are joined, which changes nothing about what is released.

    Returns:
        Infinity also where the accountant cannot compute: a missing bound must not look like a small one.
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
        epsilon = epsilon_of(joined, delta, relation)
    except (ArithmeticError, ValueError, MemoryError):
        return math.inf
    return math.inf if math.isnan(epsilon) else epsilon


def discretisation(events: Sequence[PrivacyEvent], relation: Relation) -> float:
    """Width of the accountant's bins: coarser where ε is in the hundreds, and always pessimistic.

    Rounding a loss to bins adds up to a quarter of a squared width to the variance of each step. What that adds to
    ε, half of it and some standard deviations, is kept to about `_BIN_ERROR`, so that ε is within 1e-3 of that in
    far finer bins. A fixed width would also need memory for losses up to T / (2 σ²): gigabytes for noise far too
    small to protect anything, whose ε must still be reported.
    """
    widest, rounded, variance = 0.0, 0, 0.0
    moved = relation.moved
    for event in events:
        alone = 1.0 / max(event.noise_multiplier, _SMALLEST_NOISE)
        single = moved * alone
        amplified = moved * event.sampling_rate * math.sqrt(math.expm1(min(alone**2, 700.0)))
        spread = single if event.sampling_rate == 1.0 else min(single, amplified)
        composed = math.sqrt(event.steps) * spread
        widest = max(widest, *(mu * mu / 2.0 + 10.0 * mu for mu in (single, composed)))
        rounded += event.steps if event.sampling_rate < 1.0 else 1  # without sampling all steps are one Gaussian
        variance += composed * composed
    growth = 0.5 + 2.0 / math.sqrt(max(variance, 1e-12))
    bins = math.sqrt(4.0 * _BIN_ERROR / (growth * max(1, rounded)))
    return max(_FINEST_BINS, min(_COARSEST_BINS, bins), 1e-5 * widest)


def new_accountant(bins: float, relation: Relation) -> Any:
    from dp_accounting.pld import PLDAccountant

    return PLDAccountant(_dp_relation(relation), value_discretization_interval=bins)


def _dp_relation(relation: Relation) -> Any:
    """The relation in ``dp_accounting``, where noise is relative to one record's largest norm in each of them.

    Blanking and removing give the same ε for the Gaussian, sampled or not, so that one of them is computed.
    """
    from dp_accounting import NeighboringRelation

    if relation is Relation.REPLACE_ONE:
        return NeighboringRelation.REPLACE_ONE
    return NeighboringRelation.ADD_OR_REMOVE_ONE


def _as_dp_event(event: PrivacyEvent) -> Any:
    from dp_accounting import dp_event

    gaussian = dp_event.GaussianDpEvent(event.noise_multiplier)
    if event.sampling_rate < 1.0:
        return dp_event.SelfComposedDpEvent(dp_event.PoissonSampledDpEvent(event.sampling_rate, gaussian), event.steps)
    return dp_event.SelfComposedDpEvent(gaussian, event.steps)
