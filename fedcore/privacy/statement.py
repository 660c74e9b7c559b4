"""The privacy statement of a model: what is promised, to whom, under which assumptions, and what is not.

The fields follow NIST SP 800-226 (2025), "How to DP-fy ML" (Ponomareva et al. 2023, arXiv 2303.00654,
section 5.3) and the OpenDP deployment registry: an ε alone is no statement.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fedcore.privacy.accounting import accountant_description, epsilon_of, rounded_up
from fedcore.privacy.plan import NoiseKind, PrivacyPlan, Relation

STATEMENT_VERSION = 1
_DELTAS = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8)

_RELATIONS = {
    Relation.ZERO_OUT: "two data sets that differ in one record, whose contribution is blanked in one of them; "
    "the number of records of each client is public",
    Relation.ADD_REMOVE: "two data sets of which one has one record more; the number of records is secret",
}
_UNPROTECTED = (
    "evaluation metrics and group counts over the held-out rows, which are never trained on, are released as they are",
    "the time that a round takes, and the size of messages and logs",
    "which clients take part",
    "in a simulation: how many rows of each class every simulated client has, in split.json and the report, which "
    "describe the experiment and which no deployed client tells",
)


def privacy_statement(
    plan: PrivacyPlan,
    *,
    rounds: int,
    asked: int,
    client_sizes: Sequence[int],
    preprocessing: str,
    verification: str,
    model_sha256: str,
    versions: Mapping[str, str],
) -> dict[str, Any]:
    """Write the statement of a released model.

    Args:
        rounds: Rounds that were committed.
        asked: How often a cohort was asked to train, failed attempts included; every client is charged for all.
        client_sizes: Number of training records of each client, for the comparison of δ with 1/N; empty where
            it is secret.
        preprocessing: Whether scales, vocabularies and schema came from public knowledge or from the data.
        verification: Which checks of the guarantee were run on this task and model.
        deviations: What happened that the guarantee does not foresee, in words.

    Returns:
        The content of ``privacy.json``: plain values only; an infinite ε is ``None`` with a deviation.
    """
    event = plan.event(asked)
    epsilon = epsilon_of(event, plan.delta)
    noted = _deviations(plan, epsilon, client_sizes)
    if asked > rounds:
        noted.append(
            f"{asked - rounds} attempts at a round failed or were cut off by a stop; what clients sent in them is "
            "charged too, so that ε may exceed the plan's target"
        )
    return {
        "statement_version": STATEMENT_VERSION,
        "model_sha256": model_sha256,
        "generated_by": dict(versions),
        "valid": plan.noise is NoiseKind.SECURE and math.isfinite(epsilon),
        "unit": {"name": plan.unit.value, "definition": "one record (row) of one client's training data"},
        "max_contribution": "a person with several records, at one client or at several, is protected less than stated",
        "neighbouring_relation": {"name": plan.relation.value, "definition": _RELATIONS[plan.relation]},
        "epsilon": _finite(epsilon),
        "delta": plan.delta,
        "delta_against_size": _delta_words(plan, client_sizes),
        "profile": {f"{delta:.0e}": _finite(epsilon_of(event, delta)) for delta in _DELTAS},
        "mechanism": _mechanism(plan),
        "clip_norm": plan.clip_norm,
        "noise_multiplier": plan.noise_multiplier,
        "noise_std_released": plan.noise_std / plan.nominal_batch,
        "nominal_batch": plan.nominal_batch,
        "sampling": {
            "scheme": "Poisson" if plan.sampling_rate < 1 else "none: every record in every step",
            "rate": plan.sampling_rate,
            "drawn_by": "the client, in secret",
            "client_sampling": "amplifies nothing in this statement",
        },
        "steps": event.steps,
        "rounds": rounds,
        "noise_location": "the client, in every step",
        "protected_outputs": [
            "every update that a client sends",
            "every model of the run",
            "the released model",
        ],
        "protected_from": ["the server", "the other clients", "whoever uses the model"],
        "unprotected_outputs": list(_UNPROTECTED),
        "public_quantities": _public(plan),
        "trust_model": {
            "client": "runs fedcore as installed, and keeps its randomness secret",
            "server": "not trusted with data; sees updates that are private already",
            "network": "not trusted with data",
        },
        "accountant": accountant_description([event]),
        "composition_scope": "this run only; other uses of the same records add to it",
        "hyperparameter_tuning": "not covered: trials of other settings on the same records are not counted",
        "preprocessing": preprocessing,
        "public_data": "none",
        "rng": _rng(plan),
        "numerics": _numerics(plan),
        "verification": verification,
        "known_deviations": noted,
        "plain_language": _in_words(plan, epsilon, rounds),
    }


def _mechanism(plan: PrivacyPlan) -> str:
    if plan.sampling_rate < 1:
        return "Poisson-subsampled Gaussian on the sum of clipped per-record gradients (DP-SGD)"
    return "Gaussian on the sum of clipped per-record gradients (DP-SGD without sampling)"


def _public(plan: PrivacyPlan) -> list[str]:
    sizes = ["the number of records of each client"] if plan.relation is Relation.ZERO_OUT else []
    return [*sizes, "the labels and the columns", "the vocabulary of every attribute", "the plan"]


def _numerics(plan: PrivacyPlan) -> str:
    return (
        "norms and clipping factors in float64; gradients and their sum in the model's number type; noise drawn in "
        f"{plan.noise_precision.value}, added in the wider of the two types, then rounded to the model's; "
        "floating-point attacks on continuous noise are not covered"
    )


def _rng(plan: PrivacyPlan) -> dict[str, Any]:
    if plan.noise is NoiseKind.SECURE:
        return {"name": "AES-256-CTR, keyed by the operating system", "cryptographic": True, "seeded": False}
    return {"name": "seeded generator, for tests", "cryptographic": False, "seeded": True}


def _deviations(plan: PrivacyPlan, epsilon: float, client_sizes: Sequence[int]) -> list[str]:
    noted = []
    if plan.noise is NoiseKind.TEST:
        noted.append(
            "noise = 'test': noise and batches were drawn from the run's seed, so anyone who knows the seed can "
            "remove the noise; there is NO privacy, the numbers only show what secure noise would give"
        )
    if not math.isfinite(epsilon):
        noted.append("the noise is zero or next to zero: nothing is promised")
    if client_sizes and plan.delta * max(client_sizes) >= 1.0:
        noted.append("δ is at least 1/N at the largest client: whole records could be published within it")
    return noted


def _delta_words(plan: PrivacyPlan, client_sizes: Sequence[int]) -> str:
    if not client_sizes or plan.relation is Relation.ADD_REMOVE:
        return "the number of records is secret"
    return f"δ · N is {plan.delta * max(client_sizes):.2g} at the largest client of {max(client_sizes)} records"


def _in_words(plan: PrivacyPlan, epsilon: float, rounds: int) -> str:
    if plan.noise is NoiseKind.TEST or not math.isfinite(epsilon):
        return "This model carries no privacy guarantee; known_deviations says why."
    return (
        "Whoever sees every update, every intermediate model and the released model can hardly tell whether one given "
        f"record was used in training: formally ({rounded_up(epsilon):g}, {plan.delta:g})-differential privacy for one "
        f"record of one client, over {rounds} rounds of this run. It holds against the server, the other clients and "
        "the model's users, as long as the client's own software is honest. It does not cover the evaluation results "
        "on held-out rows, other runs on the same records, trials of other settings, or a person with several records."
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
