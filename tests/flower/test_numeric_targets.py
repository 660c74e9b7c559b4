"""Sums of numeric targets through Flower: as in the simulation, and a wrong table costs its sender alone."""

from __future__ import annotations

import json

import pytest

from fedcore.audit.tables.values import ValueTable
from fedcore.plan import RunPlan
from fedcore.tasks.diabetes import DiabetesProgression
from fedcore_simulations import simulate
from tests.flower.driving import through_flower

PLAN = RunPlan.from_mapping(
    {
        "task": {"name": "diabetes-progression"},
        "federation": {"clients": 3, "rounds": 2},
        "training": {"learning-rate": 0.00002, "precision": "float64"},
        "audit": {"sensitive": ["sex"]},
        "engine": {"workers": 1},
    }
)


def test_a_deployment_tells_the_errors_of_the_simulation():
    outcome, rounds = through_flower(PLAN, task=DiabetesProgression())
    simulated = simulate("diabetes-progression", PLAN)

    assert isinstance(outcome.evaluation.tables["sex"], ValueTable)
    told, other = outcome.bias.to_json(), simulated.audit.to_json()
    for metric, one in told["groups"]["sex"]["sex 1"].items():
        assert one == pytest.approx(other["groups"]["sex"]["sex 1"][metric], rel=1e-9)
    assert rounds[-1]["groups"]["sex"]["sex 2"]["value"] == pytest.approx(
        simulated.rounds[-1]["groups"]["sex"]["sex 2"]["value"], rel=1e-9
    )


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"sums": [[1e9] * 15] * 3}, "SCHEMA"),
        ({"high": 1e9}, "TABLE"),
        ({"sums": "many"}, "SCHEMA"),
        ({"groups": ["sex 2", "sex 1", "unknown"]}, "TABLE"),
    ],
)
def test_a_wrong_table_costs_its_sender_alone(change, code):
    def tamper(name, content):
        if name == "client-1" and "tables" in content.get("fedcore", {}):
            tables = json.loads(content["fedcore"]["tables"])
            tables["sex"].update(change)
            content["fedcore"]["tables"] = json.dumps(tables)
        return content

    outcome, _ = through_flower(PLAN, task=DiabetesProgression(), tamper=tamper)

    assert {(each.client, each.code) for each in outcome.evaluation.rejected} == {("client-1", code)}
    assert sum(outcome.evaluation.tables["sex"].group_sizes.values()) < 88
    assert outcome.bias.verdict == "INCONCLUSIVE"
