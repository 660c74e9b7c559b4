"""The parts of a statement that depend on the unit: who is protected, how, from whom, and who is trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fedcore.privacy.central import CentralPrivacy
from fedcore.privacy.person import person_epsilon
from fedcore.privacy.plan import PrivacyEvent, PrivacyPlan, Relation
from fedcore.privacy.statement.strength import finite
from fedcore.text.wording import counted

UNNOISED_EVALUATION = (
    "evaluation metrics and group counts over the held-out rows, which are never trained on, are released as they are"
)
_PUBLIC_SIZE = "the number of records of each client is public"
_OF_RECORDS = {
    Relation.ZERO_OUT: f"two data sets that differ in one record, whose contribution is blanked in one of them; "
    f"{_PUBLIC_SIZE}",
    Relation.ADD_REMOVE: "two data sets of which one has one record more; the number of records is secret",
    Relation.REPLACE_ONE: f"two data sets that differ in one record, which is another one in one of them; "
    f"{_PUBLIC_SIZE}",
}
_OF_CLIENTS = {
    Relation.ZERO_OUT: "two federations that differ in one client, whose updates are blanked in one of them; how many "
    "clients are asked is public",
    Relation.ADD_REMOVE: "two federations of which one has one client more; the divisor is the plan's all the same",
    Relation.REPLACE_ONE: "two federations that differ in one client, which is another one in one of them",
}
_TIMES = "the time that a round takes, and the size of messages and logs"
_OF_SECRET_SIZE = (
    "how many rows are held out, exactly, and so about how many there are in all",
    "that a client has fewer rows than its owner lets it train on, or none: it refuses then",
    "in a simulation: how the rows were dealt, which depends on their number; the relation holds for those dealt",
)
_PUBLIC = ("the labels and the columns", "the vocabulary of every attribute", "the plan")


def record_fields(plan: PrivacyPlan, event: PrivacyEvent, sizes: Sequence[int]) -> dict[str, Any]:
    """Fields of a record as the unit, with noise by each client."""
    records, sampled = plan.max_records_per_person, plan.sampling_rate < 1
    several = person_epsilon(event, records, plan.delta, plan.relation) if records else math.inf
    is_secret = plan.relation is Relation.ADD_REMOVE
    contribution = (
        f"a person is declared to have at most {counted(records, 'record')}, all at one client; nothing checks it"
        if records
        else "a person with several records, at one client or at several, is protected less than stated"
    )
    size = (
        "the number of records is secret"
        if is_secret or not sizes
        else f"δ · N is {plan.delta * max(sizes):.2g} at the largest client of {counted(max(sizes), 'record')}"
    )
    return {
        "unit": {"name": plan.unit.value, "definition": "one given record (row) of one client's training data"},
        "max_contribution": {"records_per_unit": 1, "records_per_person": records, "words": contribution},
        "person": {"max_records": records, "epsilon": finite(several), "delta": plan.delta},
        "neighbouring_relation": {"name": plan.relation.value, "definition": _OF_RECORDS[plan.relation]},
        "delta_against_size": size,
        **_mechanism(
            plan,
            f"clipped per-record gradients ({'DP-SGD' if sampled else 'DP-SGD without sampling'})",
            noise_std=plan.noise_std / plan.nominal_batch,
            batch=plan.nominal_batch,
            sampling={
                "scheme": "Poisson" if sampled else "none: every record in every step",
                "rate": plan.sampling_rate,
                "drawn_by": "the client, in secret",
                "client_sampling": "amplifies nothing in this statement",
            },
        ),
        "noise_location": "the client, in every step",
        "steps": event.steps,
        **_record_reach(plan, is_secret=is_secret),
    }


def _record_reach(plan: PrivacyPlan, *, is_secret: bool) -> dict[str, Any]:
    return {
        "protected_outputs": ["every update that a client sends", "every model of the run", "the released model"],
        "protected_from": ["the server", "the other clients", "users of the model"],
        "unprotected_outputs": [
            UNNOISED_EVALUATION,
            _TIMES,
            "which clients take part",
            *(_OF_SECRET_SIZE if is_secret else ()),
        ],
        "public_quantities": [*(() if is_secret else ("the number of records of each client",)), *_PUBLIC],
        "trust_model": {
            "client": "runs fedcore as installed, and keeps its randomness secret",
            "server": "not trusted with data; sees updates that are private already",
            "network": "not trusted with data",
        },
        "numerics": "norms and clipping factors in float64; gradients and their sum in the model's number type; noise "
        f"drawn in {plan.noise_precision.value}, added in the wider of the two types, then rounded to the model's; "
        "floating-point attacks on continuous noise are not covered",
    }


def client_fields(plan: CentralPrivacy, event: PrivacyEvent, clients: Sequence[int]) -> dict[str, Any]:
    """Fields of a client as the unit, with noise by the server."""
    sampled = plan.sampling_rate < 1
    words = "a client's updates count once a round, however many records and persons are behind them"
    adaptive = f", the clip norm following the {plan.quantile:g} quantile of their norms" if plan.quantile else ""
    against = f"δ · N is {plan.delta * len(clients):.2g} for {counted(len(clients), 'client')}"
    return {
        "unit": {"name": plan.unit.value, "definition": "one given client with all of its rows"},
        "max_contribution": {"records_per_unit": None, "records_per_person": None, "words": words},
        "person": {"max_records": None, "epsilon": None, "delta": plan.delta},
        "neighbouring_relation": {"name": plan.relation.value, "definition": _OF_CLIENTS[plan.relation]},
        "delta_against_size": against if clients else "not known here",
        **_mechanism(
            plan,
            f"clipped updates (DP-FedAvg{adaptive})",
            noise_std=plan.update_noise_multiplier * plan.clip_norm / plan.cohort,
            batch=plan.cohort,
            sampling={
                "scheme": "Poisson" if sampled else "none: being asked or not amplifies nothing",
                "rate": plan.sampling_rate,
                "drawn_by": "the server, declared to be trusted and to keep it secret" if sampled else "the server",
                "client_sampling": "amplifies, as declared" if sampled else "amplifies nothing in this statement",
            },
        ),
        "noise_location": "the server, in every round",
        "steps": event.steps,
        **_client_reach(sampled=sampled),
    }


def _client_reach(*, sampled: bool) -> dict[str, Any]:
    return {
        "protected_outputs": ["every model of the run", "the released model"],
        "protected_from": ["the other clients", "users of the model"],
        "unprotected_outputs": [
            "every update as the server receives it",
            "evaluation metrics and group counts over the clients' held-out rows, released as they are",
            _TIMES,
            *([] if sampled else ["which clients take part, and how often their updates were rejected"]),
        ],
        "public_quantities": ["the number of clients asked", *_PUBLIC],
        "trust_model": {
            "server": "trusted: it sees every client's update as it is, clips it, adds the noise, and keeps it secret",
            "client": "need not be trusted with the guarantee of others: what it sends is clipped",
            "network": "not trusted with data",
        },
        "numerics": "clipping, sum and noise in float64, then rounded to the model's type; floating-point attacks on "
        "continuous noise are not covered",
    }


def _mechanism(
    plan: PrivacyPlan | CentralPrivacy, what: str, *, noise_std: float, batch: float, sampling: Mapping[str, Any]
) -> dict[str, Any]:
    gaussian = "Poisson-subsampled Gaussian" if plan.sampling_rate < 1 else "Gaussian"
    return {
        "mechanism": f"{gaussian} on the sum of {what}",
        "clip_norm": plan.clip_norm,
        "sensitivity": plan.sensitivity,
        "noise_multiplier": plan.noise_multiplier,
        "noise_std_released": noise_std,
        "nominal_batch": batch,
        "sampling": sampling,
    }
