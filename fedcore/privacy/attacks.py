"""Upper bounds on attacks: ε in terms of an attacker's success.

Membership inference is a test between two neighbouring data sets. Every (ε, δ) that a mechanism keeps bounds
each such test (Wasserman and Zhou 2010; Kairouz et al. 2015, arXiv 1311.0776), and the bounds of all of them
together are the trade-off curve (Dong, Roth and Su 2022, arXiv 1905.02383, proposition 2.12).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fedcore.privacy.accounting import PrivacyLosses
from fedcore.privacy.plan import PrivacyEvent, Relation

_POINTS = 200
_SMALLEST_DELTA = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackBounds:
    """Upper bounds that hold for every attack, whatever it knows of the other records.

    Attributes:
        tpr_at_fpr_1_percent: Largest share of members found by an attack with 1 % false alarms.
        tpr_at_fpr_0_1_percent: The same with 0.1 % false alarms.
        advantage: Largest difference between the two shares.
    """

    tpr_at_fpr_1_percent: float
    tpr_at_fpr_0_1_percent: float
    advantage: float

    @classmethod
    def of(cls, losses: PrivacyLosses | None) -> AttackBounds:
        """Bounds from the (ε, δ) of `losses` at 200 values of ε; without losses, those of guessing."""
        if losses is None:
            return cls(tpr_at_fpr_1_percent=0.01, tpr_at_fpr_0_1_percent=0.001, advantage=0.0)
        kept = _kept(losses)
        return cls(
            tpr_at_fpr_1_percent=_largest_tpr(kept, 0.01),
            tpr_at_fpr_0_1_percent=_largest_tpr(kept, 0.001),
            advantage=float(kept[0, 1]),  # δ at ε = 0, the distance in total variation
        )


def exact_mu(event: PrivacyEvent, relation: Relation) -> float | None:
    """μ of Gaussian differential privacy; ``None`` if the mechanism is sampled and has no exact one.

    Source: Dong, Roth and Su 2022 (arXiv 1905.02383), theorem 2.7 and corollary 3.3.
    """
    if event.sampling_rate < 1.0:
        return None
    return relation.moved * math.sqrt(event.steps) / event.noise_multiplier if event.noise_multiplier > 0 else math.inf


@lru_cache(maxsize=8)
def _kept(losses: PrivacyLosses) -> NDArray[np.float64]:
    """Pairs (ε, δ), shape ``(n, 2)``."""
    widest = losses.epsilon(_SMALLEST_DELTA)
    epsilons = np.linspace(0.0, min(widest, 700.0), _POINTS) if math.isfinite(widest) else np.zeros(1)
    return np.stack([epsilons, losses.deltas(epsilons)], axis=1)


def _largest_tpr(kept: NDArray[np.float64], fpr: float) -> float:
    epsilon, delta = kept[:, 0], kept[:, 1]
    few_alarms = np.exp(epsilon) * fpr + delta
    few_misses = 1.0 - np.exp(-epsilon) * np.maximum(0.0, 1.0 - fpr - delta)
    return float(min(1.0, few_alarms.min(), few_misses.min()))
