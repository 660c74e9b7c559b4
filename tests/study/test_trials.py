"""What a sweep says of the privacy of choosing among its runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fedcore.errors import PlanError
from fedcore.plan import RunPlan
from fedcore.privacy.accounting import rounded_up
from fedcore.privacy.gaussian import gaussian_epsilon
from fedcore_simulations.study.trials import check_trials, together_notes, trial_notes
from tests.builders import build_plan, build_private_plan


def plans(*changes: dict[str, Any]) -> list[RunPlan]:
    return [build_private_plan(privacy=each) for each in changes]


def test_fewer_declared_trials_than_runs_are_refused() -> None:
    with pytest.raises(PlanError, match=r"--set privacy\.trials=3"):
        check_trials(plans(*[{"trials": 2}] * 3))


@pytest.mark.parametrize("trials", [None, 3, 5])
def test_no_declaration_and_an_ample_one_are_accepted(trials: int | None) -> None:
    check_trials(plans(*[{"trials": trials} if trials else {}] * 3))


def test_a_search_among_equal_mechanisms_can_be_charged_by_trials() -> None:
    (charge, fix) = trial_notes(plans({}, {}, {}))

    assert "not charged" in charge
    assert "--set privacy.trials=3" in fix


def test_a_search_among_unequal_mechanisms_is_not_said_to_be_charged() -> None:
    words = " ".join(trial_notes(plans({"noise_multiplier": 1.0}, {"noise_multiplier": 8.0})))

    assert "--set privacy.trials" not in words
    assert "does not give the ε of this search" in words


def test_runs_without_privacy_are_named() -> None:
    assert trial_notes([build_plan(), build_plan()]) == []
    assert any("1 run without privacy" in note for note in trial_notes([*plans({}), build_plan()]))


def runs_of(directory: Path, made: list[RunPlan], statements: list[Any]) -> list[Path]:
    paths = []
    for number, (plan, statement) in enumerate(zip(made, statements, strict=True)):
        path = directory / str(number)
        path.mkdir()
        (path / "plan.toml").write_text(plan.to_toml())
        if statement:
            (path / "privacy.json").write_text(json.dumps(statement))
        paths.append(path)
    return paths


def test_the_epsilon_of_all_runs_is_that_of_their_composition(tmp_path: Path) -> None:
    made = plans(*({"noise_multiplier": noise, "sampling_rate": 1.0} for noise in (2.0, 4.0, 4.0)))
    # Of failed attempts and an early stop more steps are charged than the plan's rounds have; one run was stopped.
    statements = [{"valid": True, "steps": 6}, {"valid": True, "steps": 11}, None]

    first, second = together_notes(runs_of(tmp_path, made, statements))

    mu = (6 / 2.0**2 + 11 / 4.0**2) ** 0.5
    assert f"ε = {rounded_up(gaussian_epsilon(mu, 1e-5)):.2f} " in first
    assert second.startswith("1 private run that did not finish")


def test_no_epsilon_is_given_where_some_noise_protects_nothing(tmp_path: Path) -> None:
    statements = [{"valid": True, "steps": 6}, {"valid": False, "steps": 6}]
    (note,) = together_notes(runs_of(tmp_path, plans({}, {}), statements))
    assert "ε =" not in note


def test_a_number_of_trials_is_refused_where_the_runs_spend_differently() -> None:
    different = plans({"noise_multiplier": 8.0, "trials": 2}, {"noise_multiplier": 0.5, "trials": 2})
    with pytest.raises(PlanError, match="differ in what they spend"):
        check_trials(different)
    check_trials(plans({"noise_multiplier": 8.0, "trials": 2}, {"noise_multiplier": 8.0, "trials": 2}))
