"""From a target ε to noise and divisor."""

from __future__ import annotations

from typing import Any

from fedcore.plan import RunPlan
from fedcore.privacy.central import client_sampling_rate


def resolve_privacy(plan: RunPlan, *, nominal_batch: float) -> dict[str, Any]:
    """Derived values of a plan's privacy section: its noise multiplier and public divisor.

    Returns:
        Keys of the section to be replaced; empty without a privacy promise.
    """
    from fedcore.privacy.accounting import calibrate_noise_multiplier
    from fedcore.privacy.plan import Relation

    privacy = plan.privacy
    if privacy.unit == "none":
        return {}
    by_client = privacy.unit == "client"
    changes: dict[str, Any] = {} if by_client else {"nominal-batch": privacy.nominal_batch or nominal_batch}
    if privacy.epsilon is not None:
        changes["noise-multiplier"] = calibrate_noise_multiplier(
            epsilon=privacy.epsilon,
            delta=privacy.delta,
            sampling_rate=client_sampling_rate(plan) if by_client else privacy.sampling_rate,
            steps=plan.federation.rounds * (1 if by_client else privacy.steps_per_round),
            relation=Relation(privacy.relation),
        )
        changes["epsilon"] = None  # has done its work: the multiplier is what holds from here on
    return changes
