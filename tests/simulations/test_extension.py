"""A run that is given more rounds than its plan had."""

from __future__ import annotations

import json
import shutil

import pytest

from fedcore.errors import PlanError, RunDirectoryError
from fedcore_simulations import simulate
from fedcore_simulations.extension import Extension
from fedcore_simulations.runner import resume
from tests.builders import Stopping, TinyTask, build_plan

PRIVATE = {"unit": "record", "noise_multiplier": 2.0, "noise": "test", "sampling_rate": 1.0}


def plan_of(**sections):
    federation = {"rounds": 3, **sections.pop("federation", {})}
    return build_plan(federation=federation, task={"name": "tests.builders:TinyTask"}, **sections)


def run_of(path, **sections):
    simulate(None, plan_of(**sections), out=path)
    return path


def lines_of(path):
    lines = [json.loads(line) for line in (path / "rounds.jsonl").read_text().splitlines()]
    return [{**line, "wall_seconds": 0} for line in lines]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run_of(tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


SAME = {
    "plain": {},
    "a step schedule and a server with a memory": {
        "training": {"schedule": "step:2:0.5"},
        "federation": {"server_optimizer": "adam", "averaging": 0.5, "cohort_size": 2},
    },
}


@pytest.mark.parametrize("name", SAME)
def test_a_longer_run_is_the_run_that_was_planned_so(name, tmp_path):
    sections = {"aggregation": {"rule": "uniform"}, **SAME[name]}
    long = {**sections, "federation": {**sections.get("federation", {}), "rounds": 5}}
    expected = simulate(None, plan_of(**long), out=tmp_path / "whole")
    path = run_of(tmp_path / "run", **sections)
    extended = resume(path, rounds=5)
    assert extended.summary["model_sha256"] == expected.summary["model_sha256"]
    assert extended.summary["plan_sha256"] == expected.summary["plan_sha256"]
    assert extended.summary["epsilon"] == expected.summary["epsilon"]
    assert lines_of(path) == lines_of(tmp_path / "whole")
    assert (path / "report.html").is_file()
    assert json.loads((path / "summary.json").read_text())["rounds"] == 5


def test_a_stopped_run_may_be_given_more_rounds(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        simulate(None, plan_of(), out=tmp_path / "run", listeners=[Stopping()])
    assert resume(tmp_path / "run", rounds=5).summary["rounds"] == 5


def test_an_extension_that_was_interrupted_is_completed_by_the_same_command(run, finished, monkeypatch):
    def fail(path, content):
        raise OSError("the power fails")

    with monkeypatch.context() as broken:
        broken.setattr("fedcore_simulations.extension.write_whole", fail)
        with pytest.raises(OSError, match="the power fails"):
            resume(run, rounds=5)
    assert resume(run, rounds=5).summary["rounds"] == 5


def test_an_interrupted_longer_run_is_resumed_as_any_other(run):
    with pytest.raises(KeyboardInterrupt):
        resume(run, rounds=5, listeners=[Stopping()])
    assert not (run / "summary.json").exists()
    assert resume(run).summary["rounds"] == 5


@pytest.mark.parametrize("privacy", [PRIVATE, {"unit": "client", "noise_multiplier": 2.0, "noise": "test"}])
def test_under_privacy_no_run_is_extended_by_its_results(privacy, tmp_path):
    path = run_of(tmp_path / "run", privacy=privacy, aggregation={"rule": "uniform"})
    with pytest.raises(PlanError, match="ε holds for rounds that were fixed before"):
        resume(path, rounds=5)


LIMIT = {"sensitive": ["sex"], "limits": [{"metric": "selection_rate", "at-most": 1.0}]}
REFUSED = {
    "a cosine": ({"training": {"schedule": "cosine"}}, r"brings the learning rate down by round 3"),
    "a warm-up before one": ({"training": {"schedule": "warmup:1:polynomial"}}, "had other rates"),
    "vectors at clients": ({"algorithm": {"name": "scaffold"}}, "keep vectors between rounds"),
    "a chosen round": ({"audit": {**LIMIT, "checkpoint": "within-limits"}}, "with intervals for 3 evaluated rounds"),
    "a rule": ({"federation": {"stop_when": "loss<=0"}}, "with intervals for 3 evaluated rounds"),
    "an evaluation that taught": (
        {"algorithm": {"name": "agnostic"}, "federation": {"evaluate_every": 2}},
        "has learned from the last evaluation",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_run_whose_results_depend_on_its_number_of_rounds_is_refused(name, run):
    sections, expected = REFUSED[name]
    (run / "plan.toml").write_text(plan_of(**sections).to_toml())
    with pytest.raises(PlanError, match=expected):
        Extension.of(run, 5)


@pytest.mark.parametrize("rounds", [3, 2])
def test_only_more_rounds_are_allowed(run, rounds):
    with pytest.raises(PlanError, match="expected more than the 3 rounds of the run"):
        resume(run, rounds=rounds)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("waiver.json", "about its present model"), ("status.json", "whose clients agreed to its rounds")],
)
def test_what_belongs_to_the_model_of_the_run_keeps_it_as_it_is(run, name, expected):
    (run / name).write_text("{}")
    with pytest.raises(RunDirectoryError, match=expected):
        resume(run, rounds=5)


def test_a_directory_without_a_run_is_refused(tmp_path):
    with pytest.raises(RunDirectoryError, match=r"expected a plan\.toml in it"):
        resume(tmp_path, rounds=5)


def test_the_task_is_the_one_of_the_plan(run):
    assert resume(run, rounds=4).summary["task"] == TinyTask.name
