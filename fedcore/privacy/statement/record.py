"""What the privacy statement says where the unit is a record and the noise each client's own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fedcore.privacy.person import person_epsilon
from fedcore.privacy.plan import PrivacyEvent, PrivacyPlan, Relation, Unit
from fedcore.privacy.statement.evaluation import UNNOISED_EVALUATION
from fedcore.privacy.statement.strength import finite
from fedcore.text.wording import counted

_UNITS = {Unit.RECORD: "one given record (row) of one client's training data"}
_RELATIONS = {
    Relation.ZERO_OUT: "two data sets that differ in one record, whose contribution is blanked in one of them; "
    "the number of records of each client is public",
    Relation.ADD_REMOVE: "two data sets of which one has one record more; the number of records is secret",
    Relation.REPLACE_ONE: "two data sets that differ in one record, which is another one in one of them; "
    "the number of records of each client is public",
}
_UNPROTECTED = (
    UNNOISED_EVALUATION,
    "the time that a round takes, and the size of messages and logs",
    "which clients take part",
)
_UNPROTECTED_SIZE = (
    "how many rows are held out, exactly, and so about how many there are in all",
    "that a client has fewer rows than its owner lets it train on, or none: it refuses then",
    "in a simulation: how the rows were dealt, which depends on their number; the relation holds for those dealt",
)


def record_claim(plan: PrivacyPlan, event: PrivacyEvent) -> dict[str, Any]:
    """Who is protected, and compared with what."""
    records = plan.max_records_per_person
    several = person_epsilon(event, records, plan.delta, plan.relation) if records else math.inf
    words = (
        f"a person is declared to have at most {counted(records, 'record')}, all at one client; nothing checks it"
        if records
        else "a person with several records, at one client or at several, is protected less than stated"
    )
    return {
        "unit": {"name": plan.unit.value, "definition": _UNITS[plan.unit]},
        "max_contribution": {"records_per_unit": 1, "records_per_person": records, "words": words},
        "person": {"max_records": records, "epsilon": finite(several), "delta": plan.delta},
        "neighbouring_relation": {"name": plan.relation.value, "definition": _RELATIONS[plan.relation]},
    }


def record_mechanism(plan: PrivacyPlan, event: PrivacyEvent) -> dict[str, Any]:
    """How it is done."""
    sampled = plan.sampling_rate < 1
    name = "Poisson-subsampled Gaussian" if sampled else "Gaussian"
    kind = "DP-SGD" if sampled else "DP-SGD without sampling"
    return {
        "mechanism": f"{name} on the sum of clipped per-record gradients ({kind})",
        "clip_norm": plan.clip_norm,
        "sensitivity": plan.sensitivity,
        "noise_multiplier": plan.noise_multiplier,
        "noise_std_released": plan.noise_std / plan.nominal_batch,
        "nominal_batch": plan.nominal_batch,
        "sampling": {
            "scheme": "Poisson" if sampled else "none: every record in every step",
            "rate": plan.sampling_rate,
            "drawn_by": "the client, in secret",
            "client_sampling": "amplifies nothing in this statement",
        },
        "noise_location": "the client, in every step",
        "steps": event.steps,
    }


def record_reach(plan: PrivacyPlan) -> dict[str, Any]:
    """What is protected from whom, and what is not."""
    return {
        "protected_outputs": [
            "every update that a client sends",
            "every model of the run",
            "the released model",
        ],
        "protected_from": ["the server", "the other clients", "whoever uses the model"],
        "unprotected_outputs": [*_UNPROTECTED, *(_UNPROTECTED_SIZE if _size_is_secret(plan) else ())],
        "public_quantities": _public(plan),
        "trust_model": {
            "client": "runs fedcore as installed, and keeps its randomness secret",
            "server": "not trusted with data; sees updates that are private already",
            "network": "not trusted with data",
        },
        "numerics": _numerics(plan),
    }


def _public(plan: PrivacyPlan) -> list[str]:
    sizes = [] if _size_is_secret(plan) else ["the number of records of each client"]
    return [*sizes, "the labels and the columns", "the vocabulary of every attribute", "the plan"]


def _numerics(plan: PrivacyPlan) -> str:
    return (
        "norms and clipping factors in float64; gradients and their sum in the model's number type; noise drawn in "
        f"{plan.noise_precision.value}, added in the wider of the two types, then rounded to the model's; "
        "floating-point attacks on continuous noise are not covered"
    )


def record_delta(plan: PrivacyPlan, client_sizes: Sequence[int]) -> str:
    """δ beside the number of records of the largest client."""
    if not client_sizes or _size_is_secret(plan):
        return "the number of records is secret"
    largest = max(client_sizes)
    return f"δ · N is {plan.delta * largest:.2g} at the largest client of {counted(largest, 'record')}"


def _size_is_secret(plan: PrivacyPlan) -> bool:
    return plan.relation is Relation.ADD_REMOVE
