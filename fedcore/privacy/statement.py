"""The privacy statement of a model: what is promised, to whom, under which assumptions, and what is not.

An ε alone is no statement. The fields, and what is refused for want of one, stand in `statement_fields`; the
words in `statement_words`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fedcore.privacy.accounting import accountant_description, epsilon_of
from fedcore.privacy.central import CentralPrivacy
from fedcore.privacy.central_statement import central_claim, central_delta, central_mechanism, central_reach
from fedcore.privacy.person import person_epsilon
from fedcore.privacy.plan import NoiseKind, PrivacyEvent, PrivacyPlan, Relation, Unit
from fedcore.privacy.statement_fields import STATEMENT_VERSION
from fedcore.privacy.statement_strength import finite, strength
from fedcore.privacy.statement_words import in_a_paragraph

_UNITS = {Unit.RECORD: "one given record (row) of one client's training data"}
_RELATIONS = {
    Relation.ZERO_OUT: "two data sets that differ in one record, whose contribution is blanked in one of them; "
    "the number of records of each client is public",
    Relation.ADD_REMOVE: "two data sets of which one has one record more; the number of records is secret",
    Relation.REPLACE_ONE: "two data sets that differ in one record, which is another one in one of them; "
    "the number of records of each client is public",
}
_UNPROTECTED = (
    "evaluation metrics and group counts over the held-out rows, which are never trained on, are released as they are",
    "the time that a round takes, and the size of messages and logs",
    "which clients take part",
    "in a simulation: how many rows of each class every simulated client has, in split.json and the report, which "
    "describe the experiment and which no deployed client tells",
)
_UNPROTECTED_SIZE = (
    "how many rows are held out, exactly, and so about how many there are in all",
    "in a simulation: how the rows were dealt, which depends on their number; the relation holds for those dealt",
)
_COMPOSITION = {
    "covers": "this run only; other uses of the same records add to it",
    "adaptive": False,
    "why": "the plan fixes every parameter of the mechanism before the run, which composition by privacy losses needs",
    "ledger": "each client keeps its own account over all runs, which no server sees",
}


def privacy_statement(
    plan: PrivacyPlan | CentralPrivacy,
    *,
    rounds: int,
    asked: int,
    client_sizes: Sequence[int],
    preprocessing: str,
    verification: str,
    model_sha256: str,
    versions: Mapping[str, str],
    run: Mapping[str, str] | None = None,
    trials: int | None = None,
    warnings: Sequence[str] = (),
    contact: str | None = None,
    ledgers: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Write the statement of a released model.

    Args:
        rounds: Rounds that were committed.
        asked: How often a cohort was asked to train, failed attempts included; every client is charged for all.
        client_sizes: Number of training records of each client, for the comparison of δ with 1/N; empty where
            it is secret. Under unit client only how many there are is told.
        preprocessing: Whether scales, vocabularies and schema came from public knowledge or from the data.
        verification: Which checks of the guarantee were run on this task and model.
        run: Hash of the plan, and dates.
        trials: Declared number of runs on the same records from which this one was chosen, itself included.
        warnings: What the linter said of plan and model without refusing them.
        contact: Whom to ask.
        ledgers: Entry number and digest of the last charge that each client told of (`LedgerReceipt`).

    Returns:
        The content of ``privacy.json``: plain values only; an infinite ε is ``None`` with a deviation.
    """
    event = plan.event(asked)
    epsilon = epsilon_of(event, plan.delta, plan.relation)
    noted = _deviations(plan, epsilon, client_sizes)
    if asked > rounds:
        noted.append(
            f"{asked - rounds} attempts at a round failed or were cut off by a stop; what clients sent in them is "
            "charged too, so that ε may exceed the plan's target"
        )
    statement: dict[str, Any] = {
        "statement_version": STATEMENT_VERSION,
        "model_sha256": model_sha256,
        "generated_by": dict(versions),
        "run": dict(run or {}),
        "valid": plan.noise is NoiseKind.SECURE and math.isfinite(epsilon),
        **_particulars(plan, event, client_sizes),
        "epsilon": finite(epsilon),
        "delta": plan.delta,
        **strength(plan, event),
        "rounds": rounds,
        "participations": asked,
        "accountant": accountant_description([event], plan.relation),
        "composition_scope": _COMPOSITION
        | {"ledger_head": {name: dict(told) for name, told in (ledgers or {}).items()}},
        "hyperparameter_tuning": _tuning(plan, event, trials),
        "preprocessing": preprocessing,
        "public_data": "none",
        "rng": _rng(plan),
        "verification": {"before_training": verification, "linter_warnings": list(warnings), "audit": "none"},
        "known_deviations": noted,
        "contact": contact,
    }
    return statement | {"plain_language": in_a_paragraph(statement)}


def _particulars(
    plan: PrivacyPlan | CentralPrivacy, event: PrivacyEvent, client_sizes: Sequence[int]
) -> dict[str, Any]:
    """What depends on the unit: who is protected, how, and from whom."""
    if isinstance(plan, CentralPrivacy):
        against = {"delta_against_size": central_delta(plan, client_sizes)}
        return central_claim(plan) | against | central_mechanism(plan, event) | central_reach(plan)
    against = {"delta_against_size": _delta_words(plan, client_sizes)}
    return _claim(plan, event) | against | _mechanism(plan, event) | _reach(plan) | {"numerics": _numerics(plan)}


def _claim(plan: PrivacyPlan, event: PrivacyEvent) -> dict[str, Any]:
    """Who is protected, and compared with what."""
    records = plan.max_records_per_person
    several = person_epsilon(event, records, plan.delta, plan.relation) if records else math.inf
    words = (
        f"a person is declared to have at most {records} records, all at one client; nothing checks it"
        if records
        else "a person with several records, at one client or at several, is protected less than stated"
    )
    return {
        "unit": {"name": plan.unit.value, "definition": _UNITS[plan.unit]},
        "max_contribution": {"records_per_unit": 1, "records_per_person": records, "words": words},
        "person": {"max_records": records, "epsilon": finite(several), "delta": plan.delta},
        "neighbouring_relation": {"name": plan.relation.value, "definition": _RELATIONS[plan.relation]},
    }


def _mechanism(plan: PrivacyPlan, event: PrivacyEvent) -> dict[str, Any]:
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


def _reach(plan: PrivacyPlan) -> dict[str, Any]:
    """What is protected from whom, and what is not."""
    return {
        "protected_outputs": ["every update that a client sends", "every model of the run", "the released model"],
        "protected_from": ["the server", "the other clients", "whoever uses the model"],
        "unprotected_outputs": [*_UNPROTECTED, *(_UNPROTECTED_SIZE if _size_is_secret(plan) else ())],
        "public_quantities": _public(plan),
        "trust_model": {
            "client": "runs fedcore as installed, and keeps its randomness secret",
            "server": "not trusted with data; sees updates that are private already",
            "network": "not trusted with data",
        },
    }


def _tuning(plan: PrivacyPlan | CentralPrivacy, event: PrivacyEvent, trials: int | None) -> dict[str, Any]:
    if trials is None:
        words = "not covered: trials of other settings on the same records are not declared and not counted"
        return {"declared_trials": None, "epsilon_of_all_trials": None, "words": words}
    if trials == 1:
        words = "none: the plan declares that no other settings were tried on the same records"
    else:
        words = (
            f"{trials} runs on the same records are declared, this one included; together they have the ε given here"
        )
    together = PrivacyEvent(
        sampling_rate=event.sampling_rate,
        noise_multiplier=event.noise_multiplier,
        steps=event.steps + (trials - 1) * plan.total_event.steps,
    )
    return {
        "declared_trials": trials,
        "epsilon_of_all_trials": finite(epsilon_of(together, plan.delta, plan.relation)),
        "words": words,
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


def _rng(plan: PrivacyPlan | CentralPrivacy) -> dict[str, Any]:
    if plan.noise is NoiseKind.SECURE:
        return {"name": "AES-256-CTR, keyed by the operating system", "cryptographic": True, "seeded": False}
    return {"name": "seeded generator, for tests", "cryptographic": False, "seeded": True}


def _deviations(plan: PrivacyPlan | CentralPrivacy, epsilon: float, client_sizes: Sequence[int]) -> list[str]:
    noted = []
    if plan.noise is NoiseKind.TEST:
        noted.append(
            "noise = 'test': noise and batches were drawn from the run's seed, so anyone who knows the seed can "
            "remove the noise; there is NO privacy, the numbers only show what secure noise would give"
        )
    if not math.isfinite(epsilon):
        noted.append("the noise is zero or next to zero: nothing is promised")
    if isinstance(plan, CentralPrivacy):
        if plan.delta * len(client_sizes) >= 1.0:
            noted.append("δ is at least 1/N for N clients: whole clients could be published within it")
        return noted
    if client_sizes and plan.delta * max(client_sizes) >= 1.0:
        noted.append("δ is at least 1/N at the largest client: whole records could be published within it")
    return noted


def _delta_words(plan: PrivacyPlan, client_sizes: Sequence[int]) -> str:
    if not client_sizes or _size_is_secret(plan):
        return "the number of records is secret"
    return f"δ · N is {plan.delta * max(client_sizes):.2g} at the largest client of {max(client_sizes)} records"


def _size_is_secret(plan: PrivacyPlan) -> bool:
    return plan.relation is Relation.ADD_REMOVE
