"""What choosing among the runs of a sweep costs in privacy."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fedcore.errors import PlanError
from fedcore.plan import RunPlan
from fedcore.privacy.plan import PrivacyPlan
from fedcore.text.wording import counted

_MOST_MECHANISMS = 16


def check_trials(plans: Sequence[RunPlan]) -> None:
    """Refuse a plan that declares fewer trials than the grid has runs: its statement would be false.

    Raises:
        PlanError: With the number to declare.
    """
    declared = {plan.privacy.trials for plan in _private(plans)} - {None}
    if max((trials for trials in declared if trials is not None), default=1) > 1 and not _alike(_private(plans)):
        raise PlanError(
            "privacy.trials counts every run as one like its own, and these runs differ in what they spend: their "
            "statements would be false. Leave the key out, and publish the ε of all runs together, which is shown"
        )
    least = min((trials for trials in declared if trials is not None), default=len(plans))
    if least < len(plans):
        raise PlanError(
            f"privacy.trials = {least}: the privacy statement would count {counted(least, 'run')} on these records, "
            f"and this sweep makes {len(plans):,}. Add --set privacy.trials={len(plans)}, or leave the key out: the "
            "statement then says that the search is not covered"
        )


def trial_notes(plans: Sequence[RunPlan]) -> list[str]:
    """What a reader must know before choosing one of the runs, in sentences; none without privacy."""
    private = _private(plans)
    if not private or len(plans) == 1:
        return []
    notes = [
        f"Each ε is that of one run. {len(private):,} private runs use the same records, and choosing among them is "
        "not charged to the ε of the chosen one."
    ]
    if len(private) < len(plans):
        open_runs = counted(len(plans) - len(private), "run")
        notes.append(f"{open_runs} without privacy use the same records, too: no ε covers a choice that looks at them.")
    if all(plan.privacy.trials is None for plan in private) and _alike(private):
        notes.append(f"To charge the search, add --set privacy.trials={len(plans)} (linter rule uncharged-search).")
    elif not _alike(private):
        notes.append(
            "The runs differ in their privacy settings. privacy.trials counts every trial as one like the chosen run, "
            "so it does not give the ε of this search."
        )
    return notes


def together_notes(directories: Sequence[Path]) -> list[str]:
    """The ε of all finished runs together, in a sentence; none where it cannot be computed."""
    from fedcore.privacy.accounting import composed_epsilon, rounded_up

    plans = {path: RunPlan.from_toml(path / "plan.toml") for path in directories}
    private = {
        path: promise for path, plan in plans.items() if (promise := PrivacyPlan.from_run_plan(plan)) is not None
    }
    statements = {path: _statement(path) for path in private}
    finished = {path: statement for path, statement in statements.items() if statement}
    if len(finished) < 2:
        return []
    if not all(statement["valid"] for statement in finished.values()):
        return ["No ε is given for all runs together: the noise of some protects nothing."]
    relations, deltas = {private[path].relation for path in finished}, {private[path].delta for path in finished}
    events = [replace(private[path].event(1), steps=statement["steps"]) for path, statement in finished.items()]
    mechanisms = {(event.sampling_rate, event.noise_multiplier) for event in events}
    if len(relations) > 1 or len(deltas) > 1 or len(mechanisms) > _MOST_MECHANISMS:
        return []
    delta, relation = deltas.pop(), relations.pop()
    epsilon = rounded_up(composed_epsilon(events, delta, relation))
    notes = [
        f"What training released in {len(finished):,} finished private runs together has ε = {epsilon:.2f} per record "
        f"at δ = {delta:g}{_rest(plans.values())}."
    ]
    if left := len(private) - len(finished):
        notes.append(f"{counted(left, 'private run')} that did not finish released more, which is not in it.")
    return notes


def _rest(plans: Iterable[RunPlan]) -> str:
    """What that ε leaves out."""
    noises = [plan.privacy.evaluation_noise_multiplier for plan in plans]
    if any(noise is None for noise in noises):
        return ". Evaluations on held-out rows are exact, and charged to no account"
    return ". Evaluations are not in it: a record may be held out in one run and trained on in another"


def _statement(path: Path) -> dict[str, Any]:
    """Empty where the run did not finish."""
    file = path / "privacy.json"
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def _private(plans: Sequence[RunPlan]) -> list[RunPlan]:
    return [plan for plan in plans if plan.privacy.unit != "none"]


def _alike(plans: Sequence[RunPlan]) -> bool:
    """Whether all runs spend the same: they have the same promise, rounds and clients."""
    return len({_spent(plan) for plan in plans}) == 1


def _spent(plan: RunPlan) -> str:
    privacy = plan.privacy.model_dump(exclude={"trials", "learning_rate", "contact"})
    federation = plan.federation.model_dump(
        include={"rounds", "clients", "cohort_size", "cohort_sampling", "evaluate_every"}
    )
    return json.dumps([privacy, federation], default=str, sort_keys=True)
