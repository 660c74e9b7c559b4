"""The strength of a guarantee, in more than one number.

An ε at one δ says little by itself ("(ε, δ) considered harmful", arXiv 2503.10945): the profile, an exact μ,
and upper bounds on attacks are shown with it.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np

from fedcore.privacy.accounting import epsilon_of, privacy_losses
from fedcore.privacy.attacks import AttackBounds, exact_mu
from fedcore.privacy.central import CentralPrivacy
from fedcore.privacy.plan import NoiseKind, PrivacyEvent, PrivacyPlan

_DELTAS = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
_EPSILONS = (0.5, 1.0, 2.0, 4.0, 8.0)
_STRONG, _REASONABLE = 1.0, 10.0


def strength(plan: PrivacyPlan | CentralPrivacy, event: PrivacyEvent) -> dict[str, Any]:
    """Fields that show the guarantee of `event` in other terms than one ε."""
    losses = privacy_losses(event, plan.relation)
    epsilon, mu = epsilon_of(event, plan.delta, plan.relation), exact_mu(event, plan.relation)
    at_delta = {f"{delta:.0e}": finite(losses.epsilon(delta)) if losses else 0.0 for delta in _DELTAS}
    deltas = losses.deltas(np.array(_EPSILONS)) if losses else np.zeros(len(_EPSILONS))
    at_epsilon = {f"{value:g}": float(delta) for value, delta in zip(_EPSILONS, deltas, strict=True)}
    return {
        "profile": {"epsilon_at_delta": at_delta, "delta_at_epsilon": at_epsilon},
        "mu_gdp": None if mu is None else finite(mu),
        "zcdp_rho": None if mu is None else finite(mu * mu / 2.0),
        "attack_bounds": asdict(AttackBounds.of(losses))
        | {"method": "upper bounds for every attack, from the accountant's (ε, δ) at 200 values of ε"},
        "strength_tier": _tier(epsilon, plan),
    }


def _tier(epsilon: float, plan: PrivacyPlan | CentralPrivacy) -> str:
    """The tiers of Ponomareva et al. 2023, section 5.2."""
    if plan.noise is NoiseKind.TEST or not math.isfinite(epsilon):
        return "none"
    if epsilon <= _STRONG:
        return "strong"
    return "reasonable" if epsilon <= _REASONABLE else "weak"


def finite(value: float) -> float | None:
    """A number for JSON; ``None`` for infinity."""
    return value if math.isfinite(value) else None
