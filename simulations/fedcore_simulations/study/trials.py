"""What choosing among the runs of a sweep costs in privacy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

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
    """The ε of all runs that began, together, in a sentence; none where it cannot be computed."""
    from fedcore.privacy.accounting import composed_epsilon, rounded_up

    plans = {path: RunPlan.from_toml(path / "plan.toml") for path in directories}
    found = [(path, plan, PrivacyPlan.from_run_plan(plan)) for path, plan in plans.items()]
    spent = [(plan, promise, promise.event(_asked(path, plan))) for path, plan, promise in found if promise is not None]
    relations, deltas = {promise.relation for _, promise, _ in spent}, {promise.delta for _, promise, _ in spent}
    mechanisms = {(event.sampling_rate, event.noise_multiplier) for _, _, event in spent}
    if len(spent) < 2 or len(relations) > 1 or len(deltas) > 1 or len(mechanisms) > _MOST_MECHANISMS:
        return []
    delta, relation = deltas.pop(), relations.pop()
    epsilon = composed_epsilon([event for *_, event in spent], delta, relation)
    exact = any(plan.privacy.evaluation_noise_multiplier is None for plan, *_ in spent)
    rest = ". Evaluations on held-out rows are exact, and charged to no account" if exact else ""
    return [
        f"What training released in all {len(spent):,} private runs together has ε = {rounded_up(epsilon):.2f} per "
        f"record at δ = {delta:g}{rest}. Publish it with the chosen run."
    ]


def _asked(path: Path, plan: RunPlan) -> int:
    """How often clients are charged: for every round of the plan at least, and for attempts on top."""
    statement = path / "privacy.json"
    if not statement.is_file():
        return plan.federation.rounds + 1  # a stop may have cost one more
    counted_there = json.loads(statement.read_text(encoding="utf-8")).get("participations") or 0
    return max(int(counted_there), plan.federation.rounds)


def _private(plans: Sequence[RunPlan]) -> list[RunPlan]:
    return [plan for plan in plans if plan.privacy.unit != "none"]


def _alike(plans: Sequence[RunPlan]) -> bool:
    """Whether all runs spend the same; seeds, models and rates of learning do not matter."""
    spent = {
        (
            plan.federation.rounds,
            plan.privacy.unit,
            plan.privacy.epsilon,
            plan.privacy.noise_multiplier,
            plan.privacy.delta,
            plan.privacy.relation,
            plan.privacy.sampling_rate,
            plan.privacy.steps_per_round,
        )
        for plan in plans
    }
    return len(spent) == 1
