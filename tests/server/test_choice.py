"""Which round's model a run ends with, where it is chosen among those within the limits."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fedcore.audit.statistics.intervals import wilson_interval
from fedcore.errors import PlanError
from fedcore.plan.evaluation_schedule import most_evaluations
from fedcore.privacy.evaluation import EvaluationPrivacy
from fedcore.privacy.statement.build import UNNOISED_CHOICE
from fedcore_server.evaluation.choice import chosen
from fedcore_server.evaluation.evaluation import audit_settings
from fedcore_server.rounds.state import Rejection, ServerState
from fedcore_server.runs.directory import RunDirectory
from fedcore_simulations import simulate
from fedcore_simulations.runner import resume
from tests.algorithms.test_learning import ADULT, BiasedTask, evaluation, table
from tests.builders import build_parameters, build_plan, build_private_plan
from tests.server.states import states_of

LIMIT = {"metric": "selection_rate", "at-most": 0.7}
WITHIN = {"checkpoint": "within-limits"}
EVEN = table([[90, 0, 0, 10], [10, 0, 0, 90]], [[90, 0, 0, 10], [10, 0, 0, 90]])
UNEVEN = table([[190, 0, 0, 0], [190, 0, 0, 0]], [[0, 0, 0, 190], [0, 0, 0, 190]])


class LargeTask(BiasedTask):
    """Of rows enough for intervals to tell rounds apart."""

    def __init__(self):
        super().__init__(rows=3000)


def plan_of(
    build=build_plan, *, limit=LIMIT, checkpoint="within-limits", algorithm="fedavg", privacy=None, **federation
):
    return build(
        federation={"clients": 3, "rounds": 5, **federation},
        training={"learning_rate": 0.5},
        audit={
            "sensitive": ["sex"],
            "limits": [limit],
            "score_bins": 4,
            "vocabularies": {"sex": ["female", "male", "unknown"]},
            "checkpoint": checkpoint,
        },
        algorithm={"name": algorithm},
        **({"privacy": privacy} if privacy else {}),
    )


def after(round, *, choice=None):
    parts = {"choice": choice} if choice else {}
    return ServerState(round=round, parameters=build_parameters(float(round)), parts=parts)


def of_accuracy(accuracy, counts=EVEN):
    return replace(evaluation([counts]), metrics={"loss": 1.0, "accuracy": accuracy})


def chosen_of(accuracies, plan=None):
    choice = None
    for number, found in enumerate(accuracies, start=1):
        given = found if not isinstance(found, float) else of_accuracy(found)
        choice = chosen(plan or plan_of(), after(number, choice=choice), given).part("choice")
    return choice


def test_the_most_accurate_round_is_chosen_and_of_equal_ones_the_earlier():
    choice = chosen_of([0.7, 0.9, 0.8, 0.9])
    assert (choice["round"], choice["merit"]) == (2, 0.9)
    assert choice["parameters"].tolist() == [2.0]


def test_a_round_beyond_the_limits_is_passed_over_however_accurate_it_is():
    assert chosen_of([0.7, of_accuracy(0.99, UNEVEN)])["round"] == 1
    assert chosen_of([of_accuracy(0.99, UNEVEN)]) == {}


def test_a_round_that_lacks_the_rows_of_a_client_is_passed_over():
    lacking = replace(of_accuracy(0.99), rejected=(Rejection(client="b", code="LATE", reason="no reply"),))
    assert chosen_of([0.7, lacking])["round"] == 1


def test_where_a_task_tells_no_accuracy_the_smallest_loss_is_chosen():
    losses = [replace(evaluation([EVEN]), metrics={"loss": loss}) for loss in (0.5, 0.2, math.nan, 0.4)]
    assert chosen_of(losses)["round"] == 2


def test_nothing_is_chosen_where_the_plan_takes_the_last():
    assert chosen_of([0.9, 0.8], plan_of(checkpoint="last")) == {}


@pytest.mark.parametrize("rounds", [2, 5])
def test_a_run_ends_with_the_very_model_of_the_chosen_round(rounds):
    """The oracle: a run that ends after that round, and the journal's own accuracies and verdicts."""
    result = simulate(LargeTask(), plan=plan_of(rounds=rounds))
    passed = {
        line["round"]: line["evaluation"]["accuracy"]
        for line in result.rounds
        if line["decisions"][0]["verdict"] == "PASS"
    }
    best = max(passed, key=passed.__getitem__)
    assert result.summary["released_round"] == result.rounds[-1]["chosen_round"] == result.audit.round == best
    shorter = simulate(LargeTask(), plan=plan_of(rounds=best, checkpoint="last"))
    assert result.summary["model_sha256"] == shorter.summary["model_sha256"]
    assert result.metrics == shorter.metrics
    assert result.summary["rounds"] == rounds
    assert any(f"that of round {best}," in words and f"best of {rounds} rounds" in words for words in told(result))


def told(result):
    return result.summary["warnings"]


def test_where_no_round_is_within_the_limits_the_last_is_taken_and_that_is_said():
    strict = plan_of(limit={"metric": "selection_rate", "at-most": 0.01})
    result = simulate(BiasedTask(rows=900), plan=strict)
    assert result.summary["released_round"] == 5
    assert {line["chosen_round"] for line in result.rounds} == {None}
    assert "no round of 5 evaluated was within all limits on rates: the model is that of the last" in told(result)


def test_a_run_that_was_stopped_anywhere_ends_with_the_same_choice_and_the_same_bytes(tmp_path):
    plan = plan_of(averaging=0.5, server_optimizer={"name": "sgd", "momentum": 0.9})
    kept = states_of(LargeTask(), plan)
    assert kept[-1].released_round not in (1, 5)  # or the test would show little
    for number, state in enumerate(kept[:-1]):
        directory = RunDirectory.create(tmp_path / f"{number}", plan)
        directory.begin(state, plan)
        ended = states_of(LargeTask(), plan, directory.restore(kept[0], plan))[-1]
        assert ended.released_round == kept[-1].released_round
        assert torch.equal(ended.released.buffer, kept[-1].released.buffer)


def test_a_run_gone_on_with_after_its_last_round_releases_the_same_file(tmp_path: Path):
    whole = simulate(LargeTask(), plan=plan_of(), out=tmp_path / "run")
    for name in ("model.safetensors", "report.html", "summary.json"):
        (tmp_path / "run" / name).unlink()
    again = resume(tmp_path / "run")
    assert again.summary["model_sha256"] == whole.summary["model_sha256"]
    assert again.audit.to_json() == whole.audit.to_json()


@pytest.mark.parametrize(("every", "rounds"), [(1, 5), (2, 5), (5, 5)])
def test_a_run_asks_for_no_more_evaluations_than_its_plan_promises(every, rounds):
    plan = plan_of(rounds=rounds, evaluate_every=every)
    ended = states_of(LargeTask(), plan)[-1]
    again = ended.released_round != ended.round
    assert ended.evaluated == -(-rounds // every) + again <= most_evaluations(plan)


def test_the_promise_to_held_out_rows_holds_one_evaluation_more():
    noisy = {"evaluation_noise_multiplier": 3.0}
    counts = [
        EvaluationPrivacy.from_run_plan(plan_of(build_private_plan, privacy=noisy, **ways), labelled=True).evaluations
        for ways in ({"checkpoint": "last"}, {}, {"algorithm": "reweighing"})
    ]
    assert counts == [5, 6, 7]


def test_a_private_run_states_the_whole_runs_epsilon_and_what_the_choice_rests_on():
    plan = plan_of(build_private_plan)
    chose, last = (
        simulate(LargeTask(), plan=plan.updated(audit={"checkpoint": taken})).privacy
        for taken in ("within-limits", "last")
    )
    assert chose["epsilon"] == last["epsilon"]
    assert UNNOISED_CHOICE in chose["unprotected_outputs"]
    assert UNNOISED_CHOICE not in last["unprotected_outputs"]


def test_intervals_of_all_evaluated_rounds_hold_together():
    settings = audit_settings(plan_of(rounds=10, evaluate_every=3))
    assert (settings.looks, settings.confidence) == (4, pytest.approx(1 - 0.05 / 4))
    assert settings.confidence_together == pytest.approx(0.95)
    assert audit_settings(plan_of(checkpoint="last")).confidence == 0.95


def test_the_interval_of_the_best_of_ten_models_covers_only_where_it_is_widened():
    """Ten models of one accuracy, at worst independent; the false alarm of either bound is below 1 in 10,000."""
    generator, rows, p, draws = np.random.default_rng(0), 400, 0.8, 4000
    best = generator.binomial(rows, p, size=(draws, 10)).max(axis=1)
    confidence = audit_settings(plan_of(rounds=10)).confidence

    def covered(confidence):
        ends = {k: wilson_interval(k, rows, confidence=confidence) for k in set(best.tolist())}
        return np.mean([ends[k].low <= p <= ends[k].high for k in best.tolist()])

    assert covered(confidence) >= 0.93
    assert covered(0.95) < 0.85


@pytest.mark.parametrize("limit", [None, {"metric": "auc", "at-most": 0.1}])
def test_a_choice_within_limits_needs_a_limit_on_a_rate(limit):
    audit = {"sensitive": ["sex"], "limits": [limit] if limit else [], "checkpoint": "within-limits"}
    with pytest.raises(PlanError, match=r"audit\.checkpoint: within-limits chooses a round by its limits on rates"):
        build_plan(audit=audit)


def test_a_limit_that_cannot_be_read_is_told_and_nothing_that_follows_from_it():
    with pytest.raises(PlanError) as refused:
        build_plan(audit={"sensitive": ["sex"], "limits": [{"metric": "selection", "at-most": 0.1}], **WITHIN})
    assert ["audit.limits" in problem for problem in refused.value.problems] == [True]


def test_files_and_report_say_which_round_it_is(tmp_path: Path):
    result = simulate(LargeTask(), plan=plan_of(), out=tmp_path / "run")
    number = result.summary["released_round"]
    assert number < 5
    assert f"The model is that of round {number}, chosen within the limits." in (
        report := (tmp_path / "run/report.html").read_text()
    )
    assert f"The model is that of round {number}, the most accurate within all limits" in report
    card = (tmp_path / "run/bias.md").read_text()
    assert f"the model is that of round {number}." in card
    content = json.loads((tmp_path / "run/bias.json").read_text())
    assert (content["round"], content["confidence"]) == (number, pytest.approx(0.99))
    assert "with 99 % confidence each, the intervals of all 5 rounds hold together with 95 %" in content["population"]


@pytest.mark.skipif(not ADULT.exists(), reason="the Adult data set is not beside the repository")
@pytest.mark.parametrize("method", ["fedavg", "reweighing"])
def test_on_adult_the_most_accurate_round_within_the_limits_is_released(method):
    result = simulate(
        "tabular",
        {
            "task": {"data": str(ADULT), "options": {"label": "income-per-year"}},
            "federation": {"clients": 20, "rounds": 6},
            "training": {"learning-rate": 2.0},
            "audit": {"sensitive": ["sex"], "limits": [{"metric": "true_positive_rate", "at-most": 0.15}], **WITHIN},
            "algorithm": {"name": method},
        },
    )
    passed = {
        line["round"]: line["evaluation"]["accuracy"]
        for line in result.rounds
        if line["decisions"][0]["verdict"] == "PASS"
    }
    print(
        method,
        [(x["round"], round(x["evaluation"]["accuracy"], 4), x["decisions"][0]["findings"]) for x in result.rounds],
    )
    print(result.summary["released_round"], result.audit.verdict, result.metrics)
    assert result.summary["released_round"] == max(passed, key=passed.__getitem__, default=6)
    assert bool(passed) == (result.audit.verdict == "PASS") == (method == "reweighing")
