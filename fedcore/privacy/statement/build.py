"""The privacy statement of a model: the promise, to whom, its assumptions, and its limits.

An ε alone is not a statement. Its fields, and what makes one incomplete, are in `statement`, the words in templates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedcore.privacy.accounting import accountant_description, epsilon_of
from fedcore.privacy.central import CentralPrivacy
from fedcore.privacy.evaluation import EvaluationPrivacy
from fedcore.privacy.isolation import Isolation
from fedcore.privacy.plan import NoiseKind, PrivacyEvent, PrivacyPlan
from fedcore.privacy.statement.statement import STATEMENT_VERSION
from fedcore.privacy.statement.strength import finite, strength
from fedcore.privacy.statement.unit import UNNOISED_EVALUATION, client_fields, record_fields
from fedcore.privacy.statement.words import in_a_paragraph
from fedcore.text.wording import counted

UNNOISED_CHOICE = "which round's model is released, since it is chosen by these evaluations; the models are protected"
_NOISED_EVALUATION = "every report on held-out rows, at the ε under evaluation"
_TESTED = "metrics on the plan's own test data, exact, which a rule may end the run by: rows of it must be nobody's"
_SPLIT = (
    "how many rows of each class every simulated client has, in split.json and the report; no deployed client shows it"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A released model, as far as its statement needs it.

    Attributes:
        asked: In how many attempts a client may have released an update, failed ones included; every client is charged
            for all.
        client_sizes: Number of training records of each client, for the comparison of δ with 1/N; empty if
            secret. Under unit client only their number is shown.
        preprocessing: Whether scales, vocabularies and schema came from public knowledge or from the data.
        verification: Which checks of the guarantee were run on this task and model.
        run: Hash of the plan, and dates.
        trials: Declared number of runs on the same records from which this one was chosen, itself included.
        split_is_shown: Whether the run shows how the rows are split over the clients, as simulations do.
        evaluation: The promise to held-out records; ``None`` if evaluation is exact.
        rounds_left_out: Planned rounds after an early stop. They are charged too: a run that ends by its results is a
            function of the whole one, and its own rounds alone would not keep δ.
        evaluations_left_out: The same for evaluations.
        chosen_by_evaluation: Whether the released model was chosen among rounds by evaluations on held-out rows.
        isolation: How each record's gradient is kept its own; under unit record.
        start_sha256: Of the file of starting weights; ``None`` if they are random.
        tested: Whether models were measured on test data of the plan's own.
        ledgers: Entry number and digest of the last charge in each client's receipts (`LedgerReceipt`).
        acknowledged: The most charges in the receipts of one client; ``None`` if no client sends any.
    """

    rounds: int
    asked: int
    client_sizes: Sequence[int]
    preprocessing: str
    verification: str
    model_sha256: str
    versions: Mapping[str, str]
    run: Mapping[str, str] | None = None
    trials: int | None = None
    warnings: Sequence[str] = ()
    contact: str | None = None
    split_is_shown: bool = False
    ledgers: Mapping[str, Mapping[str, Any]] | None = None
    acknowledged: int | None = None
    evaluation: EvaluationPrivacy | None = None
    evaluated: int = 0
    rounds_left_out: int = 0
    evaluations_left_out: int = 0
    chosen_by_evaluation: bool = False
    isolation: Isolation | None = None
    start_sha256: str | None = None
    tested: bool = False


def privacy_statement(plan: PrivacyPlan | CentralPrivacy, model: Release) -> dict[str, Any]:
    """Write the statement of a released model.

    Returns:
        The content of ``privacy.json``: plain values only; an infinite ε is ``None`` with a deviation.
    """
    event = plan.event(model.asked + model.rounds_left_out)
    epsilon = epsilon_of(event, plan.delta, plan.relation)
    fields = (
        client_fields(plan, event, model.client_sizes)
        if isinstance(plan, CentralPrivacy)
        else record_fields(plan, event, model.client_sizes)
    )
    statement: dict[str, Any] = {
        "statement_version": STATEMENT_VERSION,
        "model_sha256": model.model_sha256,
        "generated_by": dict(model.versions),
        "run": dict(model.run or {}),
        "valid": plan.noise is NoiseKind.SECURE and math.isfinite(epsilon),
        **fields,
        "isolation": model.isolation.to_json() if model.isolation else None,
        "epsilon": finite(epsilon),
        "delta": plan.delta,
        **strength(plan, event),
        "rounds": model.rounds,
        "participations": model.asked,
        "accountant": accountant_description([event], plan.relation),
        "composition_scope": _COMPOSITION
        | {"ledger_head": {name: dict(receipt) for name, receipt in (model.ledgers or {}).items()}}
        | _beside_the_ledgers(plan, model.asked, model.acknowledged),
        "hyperparameter_tuning": _tuning(plan, event, model.trials),
        "preprocessing": model.preprocessing,
        "public_data": _public(model.start_sha256),
        "rng": _rng(plan),
        "verification": {
            "before_training": model.verification,
            "linter_warnings": list(model.warnings),
            "audit": "none",
        },
        "evaluation": _evaluation(model.evaluation, model.evaluated, model.evaluations_left_out),
        "known_deviations": _deviations(plan, model, epsilon),
        "contact": model.contact,
    }
    _adjust_outputs(statement, model)
    return statement | {"plain_language": in_a_paragraph(statement)}


def _adjust_outputs(statement: dict[str, Any], model: Release) -> None:
    """Add outputs that this run protects, or does not, unlike others of its unit."""
    unprotected = statement["unprotected_outputs"]
    if model.evaluation is not None:
        unprotected.remove(UNNOISED_EVALUATION)
        statement["protected_outputs"].append(_NOISED_EVALUATION)
    elif model.chosen_by_evaluation:
        unprotected.append(UNNOISED_CHOICE)
    if model.split_is_shown:
        unprotected.append(_SPLIT)
    if model.tested:
        unprotected.append(_TESTED)


def _evaluation(privacy: EvaluationPrivacy | None, evaluated: int, left_out: int) -> dict[str, Any]:
    if privacy is None:
        return {"noise_multiplier": None, "epsilon": None, "words": "exact, and charged to nothing"}
    return {
        "mechanism": "Gaussian on counts and on sums of bounded values, rounded",
        "noise_multiplier": privacy.noise_multiplier,
        "sensitivity": privacy.sensitivity,
        "evaluations": evaluated,
        "epsilon": finite(epsilon_of(privacy.event(evaluated + left_out), privacy.delta, privacy.relation)),
        "delta": privacy.delta,
        "words": "a record is either held out or trained on, so that one of the two ε holds for it",
    }


def _beside_the_ledgers(
    plan: PrivacyPlan | CentralPrivacy, asked: int, acknowledged: int | None
) -> dict[str, Mapping[str, Any]]:
    """Both numbers and the reason if the clients' receipts show fewer charges than the statement counts."""
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


def _public(start_sha256: str | None) -> str:
    if start_sha256 is None:
        return "none"
    return f"the starting weights, with SHA-256 {start_sha256}: what they were trained on is not covered by this ε"


def _rng(plan: PrivacyPlan | CentralPrivacy) -> dict[str, Any]:
    if plan.noise is NoiseKind.SECURE:
        return {"name": "AES-256-CTR, keyed by the operating system", "cryptographic": True, "seeded": False}
    return {"name": "seeded generator, for tests", "cryptographic": False, "seeded": True}


def _deviations(plan: PrivacyPlan | CentralPrivacy, model: Release, epsilon: float) -> list[str]:
    noted, sizes = [], model.client_sizes
    if plan.noise is NoiseKind.TEST:
        noted.append(
            "noise = 'test': noise and batches were drawn from the run's seed, so anyone who knows the seed can "
            "remove the noise; there is NO privacy, the numbers only show what secure noise would give"
        )
    if not math.isfinite(epsilon):
        noted.append("the noise is zero or next to zero: nothing is promised")
    if isinstance(plan, CentralPrivacy):
        if plan.delta * len(sizes) >= 1.0:
            noted.append("δ is at least 1/N for N clients: whole clients could be published within it")
    elif plan.delta * max(sizes, default=0) >= 1.0:
        noted.append("δ is at least 1/N at the largest client: whole records could be published within it")
    if model.asked > model.rounds:
        noted.append(
            f"{counted(model.asked - model.rounds, 'attempt')} at a round failed, or ended with a stop; what clients "
            "sent then is charged too, so that ε may exceed the plan's target"
        )
    if model.rounds_left_out:
        noted.append(_stopped_early(plan, model))
    if (held_out := model.evaluation) is not None:
        evaluated = model.evaluated + model.evaluations_left_out
        spent = epsilon_of(held_out.event(evaluated), held_out.delta, held_out.relation)
        if spent > epsilon:
            times = f"in {evaluated} evaluations"
            noted.append(f"held-out records have the larger ε of {spent:.2f}, for what is released about them {times}")
    return noted


def _stopped_early(plan: PrivacyPlan | CentralPrivacy, model: Release) -> str:
    alone = epsilon_of(plan.event(model.asked), plan.delta, plan.relation)
    planned = model.rounds + model.rounds_left_out
    return (
        f"the run stopped early by its results: ε is that of all {planned} planned rounds. "
        f"A run fixed beforehand to the {counted(model.asked, 'round')} that were charged would have ε = {alone:.2f}; "
        "that does not hold at this δ where results decide when to stop"
    )
