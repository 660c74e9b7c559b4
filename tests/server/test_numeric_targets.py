"""A run whose targets are numbers: from the clients' sums to the report."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from fedcore.audit.tables.declared import empty_tables
from fedcore.audit.tables.values import ValueTable
from fedcore.errors import PlanError, UpdateRejectedError
from fedcore.messages import ClientReport, EvaluateRequest
from fedcore.metrics import Metrics
from fedcore.parameters import Parameters
from fedcore.plan import RunPlan
from fedcore.tasks.diabetes import DiabetesProgression
from fedcore.wire.replies import pack_report, unpack_report
from fedcore_server.rounds.gate import check_report
from fedcore_simulations import simulate
from tests.audit.builders import table_of
from tests.builders import build_layout

SEXES = ("sex 1", "sex 2")
PLAN = {
    "task": {"name": "diabetes-progression"},
    "federation": {"clients": 3, "rounds": 4},
    "training": {"learning-rate": 0.00002, "local-epochs": 2},
    "audit": {"sensitive": ["sex", "sex*age"], "references": {"sex": "sex 1"}},
    "engine": {"workers": 1},
}


def plan_of(**sections):
    return {**PLAN, **{name: {**PLAN.get(name, {}), **keys} for name, keys in sections.items()}}


def limits(**limit):
    return {"audit": {"limits": [limit]}}


def test_a_run_tells_errors_by_group_of_the_released_model(tmp_path):
    result = simulate("diabetes-progression", plan_of())
    result.save(tmp_path / "run")
    content = json.loads((tmp_path / "run" / "bias.json").read_text())

    told = content["groups"]["sex"]
    pooled = sum(told[sex]["mean_absolute_error"]["value"] * told[sex]["mean_absolute_error"]["n"] for sex in SEXES)
    assert pooled / 88 == pytest.approx(result.metrics["mean_absolute_error"], rel=1e-6)
    assert content["overall"]["sex"]["mean_absolute_error"]["value"] == pytest.approx(
        result.metrics["mean_absolute_error"], rel=1e-6
    )
    assert content["to_reference"]["sex"]["reference"] == "sex 1"
    assert set(content["bounded_group_loss"]["sex"]) == {"mean_absolute_error", "root_mean_squared_error"}
    rounds = [json.loads(line) for line in (tmp_path / "run" / "rounds.jsonl").read_text().splitlines()]
    assert rounds[-1]["groups"]["sex"]["sex 2"] == pytest.approx(told["sex 2"]["mean_absolute_error"])
    card = (tmp_path / "run" / "bias.md").read_text()
    assert "Held-out rows by group:" in card
    assert "favourable" not in card
    assert "base rates" not in card
    assert not re.findall(r" +$", card, re.M)
    page = (tmp_path / "run" / "report.html").read_text()
    gap = content["gaps"]["sex"]["mean_absolute_error"]
    assert 0 <= gap["ratio_low"] <= gap["ratio"] <= gap["ratio_high"] <= 1
    for told in (card, page):
        assert not re.search(r"ratio [\d.]+[^\d. ]", told)  # never without its interval
    assert any(line.startswith("| mean error |") and line.endswith("– |") for line in card.splitlines())
    assert "Worst group’s mean absolute error" in page
    assert "Mean absolute error by sex over the rounds" in page
    assert "mean absolute error" in (tmp_path / "run" / "bias.md").read_text()


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (limits(metric="accuracy", **{"at-most": 0.1}), "accuracy is not measured where targets are numbers"),
        ({"algorithm": {"name": "reweighing", "options": {"attribute": "sex"}}}, "it needs labels"),
        ({"audit": {"favourable": "high"}}, "audit.favourable: it names a label"),
        ({"audit": {"target-range": [5.0, 1.0]}}, "audit.target-range: expected two rising, finite numbers"),
        ({"audit": {"references": {"sex": "male"}}}, "'male' is none of its groups, sex 1, sex 2"),
        ({"audit": {"references": {"age": "below 40"}}}, "audit.references: unknown attribute: 'age'"),
        (
            {"privacy": {"unit": "record", "epsilon": 8.0, "evaluation-noise-multiplier": 2.0}},
            "no noise is put on these sums",
        ),
    ],
)
def test_what_numbers_do_not_allow_is_refused_before_training(sections, message):
    with pytest.raises(PlanError) as refusal:
        simulate("diabetes-progression", plan_of(**sections))

    assert message in str(refusal.value)


def test_limits_on_numbers_are_refused_where_there_are_labels():
    audit = {"sensitive": ["sex"], "limits": [{"metric": "mean_absolute_error", "at-most": 3.0}]}
    with pytest.raises(PlanError, match="not measured where targets are labels"):
        simulate("diabetes", {**plan_of(), "task": {"name": "diabetes"}, "audit": audit})


def test_a_limit_on_the_largest_error_withholds_the_model():
    section = limits(metric="root_mean_squared_error", kind="worst-group", **{"at-most": 10.0})
    result = simulate("diabetes-progression", plan_of(**section))

    assert result.audit.verdict == "FAIL"
    assert result.summary["withheld"]


def test_a_round_is_chosen_by_limits_on_errors():
    section = limits(metric="mean_absolute_error", kind="worst-group", **{"at-most": 400.0})
    section["audit"]["checkpoint"] = "within-limits"
    result = simulate("diabetes-progression", plan_of(**section))

    losses = [line["evaluation"]["loss"] for line in result.rounds]
    assert result.summary["released_round"] == 1 + int(np.argmin(losses))


def task_plan():
    vocabularies = {"sex": ["sex 1", "sex 2", "unknown"]}
    audit = {"sensitive": ["sex"], "vocabularies": vocabularies}
    return RunPlan.from_mapping({**PLAN, "audit": audit})


def request():
    return EvaluateRequest(round=1, cohort=("a",), parameters=Parameters(torch.zeros(3), build_layout(3)))


def report_of(table, rows=2):
    sums = {"loss": 1.0, "mean_absolute_error": 1.0}
    metrics = Metrics(sums=sums, counts=dict.fromkeys(sums, rows))
    return ClientReport(client="a", round=1, metrics=metrics, tables={"sex": table})


def test_sums_survive_the_wire_and_pass_the_gate():
    empty = empty_tables(DiabetesProgression(), task_plan())
    table = empty["sex"].collected([0, 1], [100.0, 200.0], [110.0, 190.0])

    read = unpack_report(pack_report(report_of(table)), client="a")

    assert read.tables["sex"] == table
    check_report(read, request(), empty, measured=DiabetesProgression.metrics)


@pytest.mark.parametrize("fault", ["rows", "range", "kind"])
def test_a_wrong_table_costs_its_sender_only(fault):
    empty = empty_tables(DiabetesProgression(), task_plan())
    table = empty["sex"].collected([0, 1], [100.0, 200.0], [110.0, 190.0])
    if fault == "range":
        table = replace(table, low=-1.0)
    report = report_of(table, rows=3 if fault == "rows" else 2)
    if fault == "kind":
        report = report_of(table_of({"sex 1": (1, 0, 0, 0), "sex 2": (0, 0, 0, 1)}))

    with pytest.raises(UpdateRejectedError) as refusal:
        check_report(report, request(), empty, measured=DiabetesProgression.metrics)

    assert refusal.value.code == "TABLE"


def test_a_task_without_a_range_needs_one_in_the_plan():
    class Unranged(DiabetesProgression):
        target_range = None

    with pytest.raises(PlanError, match=r"audit\.target-range: the targets of task 'diabetes-progression' are"):
        empty_tables(Unranged(), task_plan())
    plan = task_plan().updated(audit={"target-range": [0.0, 500.0]})
    table = empty_tables(Unranged(), plan)["sex"]
    assert isinstance(table, ValueTable)
    assert (table.low, table.high) == (0.0, 500.0)


class Undeclared(DiabetesProgression):
    target_range = None


def test_a_range_is_read_off_the_rows_only_where_nothing_is_promised_to_them():
    assert simulate(Undeclared(), plan_of()).plan.audit.target_range == (25.0, 346.0)
    private = {"privacy": {"unit": "record", "epsilon": 8.0}}
    with pytest.raises(PlanError, match=r"audit\.target-range"):
        simulate(Undeclared(), plan_of(**private))


def test_rows_beyond_the_range_are_told_and_many_of_them_block_a_pass():
    section = {
        "target-range": [0.0, 200.0],
        "limits": [{"metric": "r_squared", "kind": "worst-group", "at-least": -9.0}],
    }
    result = simulate("diabetes-progression", plan_of(audit=section))

    (said,) = (one for one in result.audit.decisions if one.hook == "range")
    assert "beyond audit.target-range, 0 to 200, and was moved to its end" in said.findings[0]
    assert result.audit.verdict == "INCONCLUSIVE"


def test_a_client_does_not_tell_by_refusing_what_its_extremes_are():
    tables = empty_tables(DiabetesProgression(), task_plan().updated(audit={"target-range": [0.0, 100.0]}))

    assert tables["sex"].collected([0], [346.0], [90.0]).moved.tolist() == [1, 0, 0]
