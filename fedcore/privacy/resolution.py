"""From a target ε to numbers that a client can act on."""

from __future__ import annotations

from typing import Any

from fedcore.plan import RunPlan


def resolve_privacy(plan: RunPlan, *, nominal_batch: float) -> dict[str, Any]:
    """What the privacy section of a plan leaves to be derived: its noise multiplier and public divisor.

    Args:
        nominal_batch: The divisor where the plan has none of its own.

    Returns:
        Keys of the section to be replaced; empty where the plan promises nothing.
    """
    from fedcore.privacy.accounting import calibrate_noise_multiplier
    from fedcore.privacy.plan import Relation

    privacy = plan.privacy
    if privacy.unit == "none":
        return {}
    changes: dict[str, Any] = {"nominal-batch": privacy.nominal_batch or nominal_batch}
    if privacy.epsilon is not None:
        changes["noise-multiplier"] = calibrate_noise_multiplier(
            epsilon=privacy.epsilon,
            delta=privacy.delta,
            sampling_rate=privacy.sampling_rate,
            steps=privacy.steps_per_round * plan.federation.rounds,
            relation=Relation(privacy.relation),
        )
        changes["epsilon"] = None  # has done its work: the multiplier is what holds from here on
    return changes
