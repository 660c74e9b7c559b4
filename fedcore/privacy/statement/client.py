"""What the privacy statement says where the unit is a client and the noise the server's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fedcore.privacy.central import CentralPrivacy
from fedcore.privacy.plan import PrivacyEvent, Relation
from fedcore.text.wording import counted

_RELATIONS = {
    Relation.ZERO_OUT: "two federations that differ in one client, whose updates are blanked in one of them; how many "
    "clients are asked is public",
    Relation.ADD_REMOVE: "two federations of which one has one client more; the divisor is the plan's all the same",
    Relation.REPLACE_ONE: "two federations that differ in one client, which is another one in one of them",
}


def central_claim(plan: CentralPrivacy) -> dict[str, Any]:
    """Who is protected, and compared with what."""
    words = "a client's updates count once a round, however many records and persons are behind them"
    return {
        "unit": {"name": plan.unit.value, "definition": "one given client with all of its rows"},
        "max_contribution": {"records_per_unit": None, "records_per_person": None, "words": words},
        "person": {"max_records": None, "epsilon": None, "delta": plan.delta},
        "neighbouring_relation": {"name": plan.relation.value, "definition": _RELATIONS[plan.relation]},
    }


def central_mechanism(plan: CentralPrivacy, event: PrivacyEvent) -> dict[str, Any]:
    """How it is done."""
    sampled = plan.sampling_rate < 1.0
    adaptive = plan.quantile is not None
    clipped = f", the clip norm following the {plan.quantile:g} quantile of their norms" if adaptive else ""
    return {
        "mechanism": f"{'Poisson-subsampled Gaussian' if sampled else 'Gaussian'} on the sum of clipped updates "
        f"(DP-FedAvg{clipped})",
        "clip_norm": plan.clip_norm,
        "sensitivity": plan.sensitivity,
        "noise_multiplier": plan.noise_multiplier,
        "noise_std_released": plan.update_noise_multiplier * plan.clip_norm / plan.cohort,
        "nominal_batch": plan.cohort,
        "sampling": {
            "scheme": "Poisson" if sampled else "none: being asked or not amplifies nothing",
            "rate": plan.sampling_rate,
            "drawn_by": "the server, declared to be trusted and to keep it secret" if sampled else "the server",
            "client_sampling": "amplifies, as declared" if sampled else "amplifies nothing in this statement",
        },
        "noise_location": "the server, in every round",
        "steps": event.steps,
    }


def central_reach(plan: CentralPrivacy) -> dict[str, Any]:
    """What is protected from whom, and what is not."""
    taking_part = ["which clients take part, and how often their updates were rejected"]
    return {
        "protected_outputs": ["every model of the run", "the released model"],
        "protected_from": ["the other clients", "whoever uses the model"],
        "unprotected_outputs": [
            "every update as the server receives it",
            "evaluation metrics and group counts over the clients' held-out rows, released as they are",
            "the time that a round takes, and the size of messages and logs",
            *(taking_part if plan.sampling_rate == 1.0 else []),
        ],
        "public_quantities": [
            "the number of clients asked",
            "the labels and the columns",
            "the vocabulary of every attribute",
            "the plan",
        ],
        "trust_model": {
            "server": "trusted: it sees every client's update as it is, clips it, adds the noise, and keeps it secret",
            "client": "need not be trusted with the guarantee of others: what it sends is clipped",
            "network": "not trusted with data",
        },
        "numerics": "clipping, sum and noise in float64, then rounded to the model's type; floating-point attacks on "
        "continuous noise are not covered",
    }


def central_delta(plan: CentralPrivacy, clients: Sequence[int]) -> str:
    """δ beside the number of clients."""
    if not clients:
        return "not known here"
    return f"δ · N is {plan.delta * len(clients):.2g} for {counted(len(clients), 'client')}"
