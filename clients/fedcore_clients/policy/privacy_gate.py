"""The minimum of differential privacy that a plan must keep, computed by this client."""

from __future__ import annotations

import math

from fedcore.errors import PrivacyError
from fedcore.plan import RunPlan
from fedcore.privacy.accounting import composed_epsilon, rounded_up
from fedcore.privacy.evaluation import EvaluationPrivacy
from fedcore.privacy.plan import NoiseKind, PrivacyEvent, PrivacyPlan
from fedcore.refusals import Refusal
from fedcore_clients.policy.sections import PrivacySection

_LACKING = {
    "none": "the plan promises no privacy",
    "client": "under unit client the noise is the server's, which sees this client's update as it is",
}


def check_privacy(plan: RunPlan, policy: PrivacySection) -> None:
    """Refuse a plan whose promise is below the policy's floor.

    Guarantee:
        Returns only if the plan promises no privacy and the policy asks for none, or if the plan's mechanism, run
        for all of its rounds, is within `max_epsilon` at the plan's own δ, which is at most `max_delta`. Unit: one
        record of this client. ε is an upper bound by ``fedcore.privacy.accounting``; the plan's own ``epsilon``,
        a target, is not read. Rounds that are tried again are the matter of `Account`.

    Raises:
        RefusedError: With the code ``PRIVACY``.
    """
    if plan.privacy.noise == "test" and not policy.allow_test_noise:
        raise Refusal.PRIVACY("the plan draws its noise from the seed, which the server knows; it protects nothing")
    if plan.privacy.unit != "record":
        if policy.required:
            raise Refusal.PRIVACY(f"privacy.required is true, and {_LACKING[plan.privacy.unit]}")
        return
    _check_kinds(plan, policy)
    privacy = _resolved(plan)
    _check_amounts(privacy, policy)
    _check_epsilon(privacy.total_event, privacy, policy)
    _check_evaluation(plan, privacy, policy)


def promised(plan: RunPlan) -> PrivacyPlan | None:
    """The promise of a plan; ``None`` where it promises nothing, or noise that the server can redraw.

    Raises:
        RefusedError: With the code ``PRIVACY``; the plan leaves a number of it to be derived.
    """
    if plan.privacy.unit != "record":
        return None
    privacy = _resolved(plan)
    return None if privacy.noise is NoiseKind.TEST else privacy


def held_out_promise(plan: RunPlan) -> EvaluationPrivacy | None:
    """A plan's promise to held-out records; ``None`` where evaluation is exact or the server knows its noise.

    Its cost is the same for every task; the number of sums is not.
    """
    found = EvaluationPrivacy.from_run_plan(plan, labelled=True)
    return None if found is None or found.noise is NoiseKind.TEST else found


def _resolved(plan: RunPlan) -> PrivacyPlan:
    try:
        privacy = PrivacyPlan.from_run_plan(plan)
    except PrivacyError as error:
        raise Refusal.PRIVACY(str(error)) from error
    if privacy is None:
        raise Refusal.PRIVACY("the plan promises no privacy")
    return privacy


def _check_kinds(plan: RunPlan, policy: PrivacySection) -> None:
    if plan.privacy.unit not in policy.units:
        raise Refusal.PRIVACY(f"privacy.units does not list {plan.privacy.unit!r}")
    if plan.privacy.relation not in policy.relations:
        raise Refusal.PRIVACY(f"privacy.relations does not list {plan.privacy.relation!r}")
    if plan.privacy.isolation not in policy.isolation:
        raise Refusal.PRIVACY(f"privacy.isolation does not list {plan.privacy.isolation!r}")


def _check_amounts(privacy: PrivacyPlan, policy: PrivacySection) -> None:
    for key, least, found in (
        ("min-noise-multiplier", policy.min_noise_multiplier, privacy.noise_multiplier),
        ("min-clip-norm", policy.min_clip_norm, privacy.clip_norm),
    ):
        if found < least:
            raise Refusal.PRIVACY(f"privacy.{key} is {least}, found {found}")
    for key, most, found in (
        ("max-clip-norm", policy.max_clip_norm, privacy.clip_norm),
        ("max-sampling-rate", policy.max_sampling_rate, privacy.sampling_rate),
        ("max-delta", policy.max_delta, privacy.delta),
    ):
        if found > most:
            raise Refusal.PRIVACY(f"privacy.{key} is {most}, found {found}")


def _check_evaluation(plan: RunPlan, privacy: PrivacyPlan, policy: PrivacySection) -> None:
    """Held-out records are others than those trained on, so that each kind may spend `max_epsilon`."""
    least, evaluation = policy.min_evaluation_noise_multiplier, held_out_promise(plan)
    if least is not None and (evaluation is None or evaluation.noise_multiplier < least):
        found = "an exact evaluation" if evaluation is None else f"{evaluation.noise_multiplier:g}"
        raise Refusal.PRIVACY(f"privacy.min-evaluation-noise-multiplier is {least:g}, found {found}")
    if evaluation is not None:
        _check_epsilon(evaluation.event(evaluation.evaluations), privacy, policy)


def _check_epsilon(event: PrivacyEvent, privacy: PrivacyPlan, policy: PrivacySection) -> None:
    epsilon = composed_epsilon([event], privacy.delta, privacy.relation)
    if epsilon > policy.max_epsilon:
        found = f"{rounded_up(epsilon):g}" if math.isfinite(epsilon) else "more than can be bounded"
        raise Refusal.PRIVACY(
            f"privacy.max-epsilon is {policy.max_epsilon:g}, and the run's ε at δ = {privacy.delta:g} is {found}"
        )
