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
from fedcore.privacy.evaluation import EvaluationPrivacy
from fedcore.privacy.isolation import Isolation
from fedcore.privacy.plan import NoiseKind, PrivacyEvent, PrivacyPlan
from fedcore.privacy.statement.client import central_claim, central_delta, central_mechanism, central_reach
from fedcore.privacy.statement.evaluation import (
    NOISED_EVALUATION,
    UNNOISED_CHOICE,
    UNNOISED_EVALUATION,
    evaluation_deviations,
    evaluation_statement,
)
from fedcore.privacy.statement.fields import STATEMENT_VERSION
from fedcore.privacy.statement.record import record_claim, record_delta, record_mechanism, record_reach
from fedcore.privacy.statement.strength import finite, strength
from fedcore.privacy.statement.words import in_a_paragraph
from fedcore.text.wording import counted

_SPLIT = (
    "how many rows of each class every simulated client has, in split.json and the report; no deployed client tells it"
)
_COMPOSITION = {
    "covers": "this run only; other uses of the same records add to it",
    "adaptive": False,
    "why": "the plan fixes every parameter of the mechanism before the run, which composition by privacy losses needs",
    "ledger": "each client keeps its own account over all runs, which no server sees",
}
_FEWER = (
    "receipts show at most so many charges in one client's ledger, which come to the epsilon given here. The statement "
    "counts every attempt in which some client may have released an update: also those in which that client was not "
    "asked, those whose answers were lost, and those that were in work when the run was stopped"
)


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
    split_is_told: bool = False,
    ledgers: Mapping[str, Mapping[str, Any]] | None = None,
    acknowledged: int | None = None,
    evaluation: EvaluationPrivacy | None = None,
    evaluated: int = 0,
    chosen_by_evaluation: bool = False,
    isolation: Isolation | None = None,
) -> dict[str, Any]:
    """Write the statement of a released model.

    Args:
        rounds: Rounds that were committed.
        asked: In how many attempts a client may have released an update, failed ones included; every client is charged
            for all.
        client_sizes: Number of training records of each client, for the comparison of δ with 1/N; empty where
            it is secret. Under unit client only how many there are is told.
        preprocessing: Whether scales, vocabularies and schema came from public knowledge or from the data.
        verification: Which checks of the guarantee were run on this task and model.
        run: Hash of the plan, and dates.
        trials: Declared number of runs on the same records from which this one was chosen, itself included.
        warnings: What the linter said of plan and model without refusing them.
        contact: Whom to ask.
        split_is_told: Whether the run tells how the rows lie with the clients, as simulations do.
        evaluation: The promise to held-out records; ``None`` where evaluation is exact.
        evaluated: How often clients were asked to evaluate.
        chosen_by_evaluation: Whether the released model is one round's, chosen by what clients told of held-out rows.
        isolation: How each record's gradient is kept its own; under unit record.
        ledgers: Entry number and digest of the last charge that each client told of (`LedgerReceipt`).
        acknowledged: The most charges that the receipts of one client show; ``None`` where no client sends any.

    Returns:
        The content of ``privacy.json``: plain values only; an infinite ε is ``None`` with a deviation.
    """
    event = plan.event(asked)
    epsilon = epsilon_of(event, plan.delta, plan.relation)
    noted = _deviations(plan, epsilon, client_sizes)
    if asked > rounds:
        noted.append(
            f"{counted(asked - rounds, 'attempt')} at a round failed, or ended with a stop; what clients sent then is "
            "charged too, so that ε may exceed the plan's target"
        )
    statement: dict[str, Any] = {
        "statement_version": STATEMENT_VERSION,
        "model_sha256": model_sha256,
        "generated_by": dict(versions),
        "run": dict(run or {}),
        "valid": plan.noise is NoiseKind.SECURE and math.isfinite(epsilon),
        **_particulars(plan, event, client_sizes),
        "isolation": isolation.to_json() if isolation else None,
        "epsilon": finite(epsilon),
        "delta": plan.delta,
        **strength(plan, event),
        "rounds": rounds,
        "participations": asked,
        "accountant": accountant_description([event], plan.relation),
        "composition_scope": _COMPOSITION
        | {"ledger_head": {name: dict(told) for name, told in (ledgers or {}).items()}}
        | _beside_the_ledgers(plan, asked, acknowledged),
        "hyperparameter_tuning": _tuning(plan, event, trials),
        "preprocessing": preprocessing,
        "public_data": "none",
        "rng": _rng(plan),
        "verification": {"before_training": verification, "linter_warnings": list(warnings), "audit": "none"},
        "evaluation": evaluation_statement(evaluation, evaluated),
        "known_deviations": noted,
        "contact": contact,
    }
    if evaluation is not None:
        statement["unprotected_outputs"].remove(UNNOISED_EVALUATION)
        statement["protected_outputs"].append(NOISED_EVALUATION)
        noted.extend(evaluation_deviations(evaluation, evaluated, epsilon))
    elif chosen_by_evaluation:
        statement["unprotected_outputs"].append(UNNOISED_CHOICE)
    if split_is_told:
        statement["unprotected_outputs"].append(_SPLIT)
    return statement | {"plain_language": in_a_paragraph(statement)}


def _particulars(
    plan: PrivacyPlan | CentralPrivacy, event: PrivacyEvent, client_sizes: Sequence[int]
) -> dict[str, Any]:
    """What depends on the unit: who is protected, how, and from whom."""
    if isinstance(plan, CentralPrivacy):
        against = {"delta_against_size": central_delta(plan, client_sizes)}
        return central_claim(plan) | against | central_mechanism(plan, event) | central_reach(plan)
    against = {"delta_against_size": record_delta(plan, client_sizes)}
    return record_claim(plan, event) | against | record_mechanism(plan, event) | record_reach(plan)


def _beside_the_ledgers(
    plan: PrivacyPlan | CentralPrivacy, asked: int, acknowledged: int | None
) -> dict[str, Mapping[str, Any]]:
    """Both numbers where the clients' receipts show fewer charges than the statement counts, and why."""
    if acknowledged is None or acknowledged >= asked:
        return {}
    epsilon = finite(epsilon_of(plan.event(acknowledged), plan.delta, plan.relation)) if acknowledged else 0.0
    return {"ledger_charges": {"counted": asked, "acknowledged": acknowledged, "epsilon": epsilon, "why": _FEWER}}


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
