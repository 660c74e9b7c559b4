"""``mitigation.method = "group-thresholds"`` in a run: asked for, told, and without effect on the model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedcore.errors import PlanError
from fedcore.plan import RunPlan
from fedcore_server.runs.deployable_plan import deployable
from fedcore_simulations import simulate
from tests.builders import TinyTask, build_plan, build_private_plan

ADULT = Path(__file__).parents[3] / "shared" / "data" / "adult.csv"
THRESHOLDS = {"method": "group-thresholds"}
AUDITED = {"sensitive": ["sex"]}


def plan_of(**sections):
    parts = {"audit": AUDITED, "mitigation": THRESHOLDS, "engine": {"workers": 1}}
    return build_plan(federation={"clients": 3, "rounds": 2}, **{**parts, **sections})


def test_training_and_verdict_are_those_of_the_single_threshold(tmp_path):
    limits = {"audit": {**AUDITED, "limits": [{"metric": "accuracy", "at-most": 0.5}]}}
    plain = simulate(TinyTask(rows=900), plan_of(mitigation={"method": "none"}, **limits))
    found = simulate(TinyTask(rows=900), plan_of(**limits), out=tmp_path / "run")

    assert found.summary["model_sha256"] == plain.summary["model_sha256"]
    assert found.summary["audit_verdict"] == plain.summary["audit_verdict"]
    assert [line["mitigation"] for line in found.rounds] == [None, None]
    assert plain.results.bias.to_json()["group_thresholds"] == {}


def test_the_files_of_a_run_tell_thresholds_price_and_warning(tmp_path):
    simulate(TinyTask(rows=900), plan_of(), out=tmp_path / "run")

    content = json.loads((tmp_path / "run" / "bias.json").read_text())["group_thresholds"]
    assert set(content) == {"sex"}
    assert set(content["sex"]["groups"]) == {"female", "male", "unknown"}
    card, page = ((tmp_path / "run" / name).read_text() for name in ("bias.md", "report.html"))
    for told in (card, page):
        assert "42 U.S.C. 2000e-2(l)" in told
        assert "no legal advice" in told
    assert "### Thresholds by group, not in use" in card
    assert "A threshold for each sex, not in use" in page
    assert "Price in accuracy" in page


def test_a_task_of_more_labels_is_refused_before_training(monkeypatch):
    monkeypatch.setattr("fedcore_simulations.runner.Run.to_end", lambda *_: pytest.fail("it trains"))
    plan = {"audit": {"sensitive": ["stroke"]}, "mitigation": THRESHOLDS}

    with pytest.raises(PlanError, match="group-thresholds cuts scores, which are counted for two labels; the task has"):
        simulate("digits", plan)


def test_a_deployment_of_more_labels_is_refused_too():
    plan = RunPlan.from_mapping(
        {
            "task": {"name": "digits", "data": "digits"},
            "audit": {"sensitive": ["ink"], "vocabularies": {"ink": ["a", "b", "unknown"]}},
            "mitigation": THRESHOLDS,
        }
    )
    with pytest.raises(PlanError, match="the task has 10"):
        deployable(plan)


def test_noisy_counts_are_refused_before_training():
    plan = build_private_plan(
        privacy={"evaluation_noise_multiplier": 1.0, "evaluation_loss_bound": 5.0}, audit=AUDITED, mitigation=THRESHOLDS
    )

    with pytest.raises(PlanError, match="counts with noise cannot be halved"):
        simulate(TinyTask(), plan)


def test_an_evaluation_before_training_is_neither_made_nor_paid_for():
    plan = build_private_plan(
        privacy={"evaluation_noise_multiplier": 1.0, "evaluation_loss_bound": 5.0}, audit=AUDITED, mitigation=THRESHOLDS
    )

    assert not plan.mitigation.steers
    assert not plan.mitigation.weighs_rows


@pytest.mark.parametrize(
    ("mitigation", "message"),
    [
        ({"metric": "equalized_odds"}, "mitigation.metric: without decisions at random"),
        ({"metric": "tpr"}, "chosen for selection_rate or true_positive_rate, not for 'tpr'"),
        ({"attribute": "race"}, "'race' is not audited"),
    ],
)
def test_contradictions_are_refused(mitigation, message):
    with pytest.raises(PlanError, match=message):
        plan_of(mitigation={**THRESHOLDS, **mitigation})


@pytest.mark.skipif(not ADULT.exists(), reason="the Adult data set is not beside the repository")
@pytest.mark.parametrize("metric", ["selection_rate", "true_positive_rate"])
def test_on_adult_the_gap_by_sex_shrinks_to_a_quarter_for_at_most_2_points_of_accuracy(metric):
    # Seen over seeds 0 to 4, in points: selection 17.9-20.2 -> 0.8-1.9 for a cost of 1.3-1.8; true positives 31.0-38.4
    # -> 1.1-8.0 for -0.4-0.2.
    found = simulate(
        "tabular",
        {
            "task": {"data": str(ADULT), "options": {"label": "income-per-year"}},
            "federation": {"clients": 20, "rounds": 3},
            "training": {"learning-rate": 2.0},
            "audit": {"sensitive": ["sex"]},
            "mitigation": {**THRESHOLDS, "metric": metric},
            "engine": {"workers": 1},
        },
    ).audit.thresholds["sex"]
    before, after = (one.gaps[metric] for one in (found.before, found.after))
    print(f"{metric}: gap {100 * before.difference:.1f} -> {100 * after.difference:.1f} points")
    print(f"cost in accuracy {100 * found.cost.value:.1f} points ({100 * found.cost.low:.1f} to {found.cost.high:.3f})")

    assert after.difference < before.difference / 4
    assert after.difference_low == 0
    assert found.cost.value < 0.02
    assert found.chosen["Female"] < found.chosen["Male"]
