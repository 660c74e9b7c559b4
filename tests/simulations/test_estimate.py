"""An estimate agrees with its run in all that does not depend on the machine, and leaves nothing behind."""

import json
import re

import pytest

from fedcore_simulations import simulate
from fedcore_simulations.estimate import estimate
from tests.builders import TinyTask, build_plan, build_private_plan
from tests.models import plain

FEDERATION = {"clients": 12, "cohort_size": 4, "rounds": 5, "evaluate_every": 2}


@pytest.mark.parametrize(
    "plan",
    [
        build_plan(federation=FEDERATION, aggregation={"rule": "uniform", "encode": ["int8"]}),
        build_plan(federation={"clients": 3, "rounds": 2}, algorithm={"name": "scaffold"}),
        build_private_plan(federation=FEDERATION),
        build_plan(federation=FEDERATION | {"evaluate_clients": 3}, audit={"sensitive": ["sex"]}),
        build_plan(
            federation={"clients": 4, "rounds": 3},
            privacy={"unit": "client", "noise_multiplier": 2.0, "noise": "test"},
            aggregation={"rule": "uniform"},
        ),
    ],
    ids=["int8", "scaffold", "record", "sampled", "client"],
)
def test_traffic_privacy_and_engine_are_those_of_the_run(plan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found, summary = estimate(TinyTask(model=plain), plan), simulate(TinyTask(model=plain), plan).summary
    assert not list(tmp_path.iterdir())
    assert (found.engine, found.rounds) == (summary["engine"], summary["rounds"])
    assert (found.bytes_sent, found.bytes_received) == (summary["bytes_sent"], summary["bytes_received"])
    assert found.epsilon == pytest.approx(summary["epsilon"]) if summary["epsilon"] else found.epsilon is None
    assert found.seconds > 0.0


def test_its_lines_name_everything_that_a_run_takes():
    lines = dict(estimate(TinyTask(model=plain), build_private_plan(federation=FEDERATION)).lines())
    assert list(lines) == ["time", "engine", "memory", "traffic", "privacy", "energy"]
    assert "5 rounds of" in lines["time"]
    assert re.fullmatch(r".* in the trial; .* planned of .* free on cpu, with 4 clients at once.*", lines["memory"])
    assert "3 evaluations of" in lines["time"]
    assert lines["privacy"].startswith("ε = ")


def test_the_command_prints_it_and_writes_nothing(tmp_path, monkeypatch, capsys):
    from fedcore_simulations.commands.estimate_run import estimate_command

    monkeypatch.chdir(tmp_path)
    options = {"federation.rounds": 2, "engine.workers": 1, "privacy.unit": "none"}
    assert estimate_command("synthetic", options, [], resume_from=None, as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["rounds"] == 2
    assert not list(tmp_path.iterdir())
