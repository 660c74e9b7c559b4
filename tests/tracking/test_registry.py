"""Trackers by name: in a plan, with `simulate --track`, and with `fedcore track`."""

from __future__ import annotations

import importlib.util
import json
import sys
import tomllib
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from fedcore.cli import main
from fedcore.commands.track import track
from fedcore.errors import PlanError, RunDirectoryError, StorageError, TaskError
from fedcore.plan import RunPlan
from fedcore.tracking.registry import TRACKERS, load_trackers
from fedcore.tracking.replay import replay
from fedcore.wire.requests import pack_request
from fedcore_simulations import simulate
from fedcore_simulations.commands.options import plan_from_options
from tests.builders import Remembered, build_parameters, build_plan, build_request
from tests.tracking.conftest import SECTIONS

ROOT = Path(__file__).parents[2]
OWN = """
from tests.builders import Remembered

class Mine(Remembered):
    def __init__(self, colour="red"):
        super().__init__()
        self.name = colour
        ALL.append(self)

ALL = []
"""


@pytest.mark.parametrize("name", TRACKERS.rows)
def test_a_registered_tracker_names_the_package_that_its_extra_installs(name):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert name in project["optional-dependencies"]
    assert importlib.util.find_spec(TRACKERS.load(name).package)


def test_an_unknown_tracker_is_answered_with_the_nearest_name_before_training():
    with pytest.raises(PlanError, match="unknown tracker: 'mlfow'; did you mean 'mlflow'"):
        plan_from_options("digits", {"run.track": ["mlfow"]}, [])
    with pytest.raises(PlanError, match="unknown tracker: 'tensorbord'; did you mean 'tensorboard'"):
        simulate(plan={"run": {"track": ["tensorbord"]}})


@pytest.mark.parametrize("name", TRACKERS.rows)
def test_a_missing_extra_is_refused_before_training_with_the_command_that_installs_it(here, monkeypatch, name):
    found = importlib.util.find_spec
    away = ("mlflow", "tensorboardX")
    monkeypatch.setattr(importlib.util, "find_spec", lambda wanted, *rest: None if wanted in away else found(wanted))
    with pytest.raises(PlanError, match=rf"which is not installed: pip install 'fedcore\[{name}\]'"):
        simulate(None, build_plan(**SECTIONS, run={"track": [name]}), out=here / "run")
    assert not (here / "run").exists()


def test_a_tracker_of_ones_own_follows_the_run_with_its_options(here):
    (here / "own_tracker.py").write_text(OWN)
    reference = {"name": "own_tracker:Mine", "colour": "blue"}
    result = simulate(None, build_plan(**SECTIONS, run={"track": [reference]}))
    import own_tracker

    (mine,) = own_tracker.ALL
    assert (mine.name, len(mine.lines), mine.ending.summary) == ("blue", 2, result.summary)
    with pytest.raises(PlanError, match="its options are: colour"):
        load_trackers(build_plan(run={"track": [{**reference, "color": 1}]}))
    with pytest.raises(TaskError, match="lacks run_begins"):
        load_trackers(build_plan(run={"track": ["json:JSONDecoder"]}))


def test_who_follows_a_run_is_no_part_of_its_hash_and_is_not_sent_to_clients():
    plan, tracked = build_plan(), build_plan(run={"track": [{"name": "my:Tracker", "token": "secret"}]})
    assert plan.sha256 == tracked.sha256
    header = repr(pack_request(build_request(build_parameters(1.0)), tracked))
    assert "secret" not in header
    assert RunPlan.from_mapping(tracked.to_shared()).sha256 == plan.sha256


def test_simulate_takes_a_tracker_and_keeps_it_in_the_plan_of_the_run(here, monkeypatch):
    options = ["--clients", "3", "--rounds", "2", "--workers", "1", "--no-privacy", "--out", "one"]
    arguments = ["fedcore", "simulate", "tests.builders:TinyTask", *options, "--track", "tensorboard"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert RunPlan.from_toml(here / "one" / "plan.toml").run.track == ("tensorboard",)
    assert (here / "tensorboard" / "one").is_dir()


def test_the_command_copies_a_finished_run(here, finished):
    app = typer.Typer()
    app.command()(track)
    done = CliRunner().invoke(app, [str(finished), "--to", "tensorboard"])
    assert done.exit_code == 0, done.output
    assert done.output == f"2 rounds of {finished} copied to tensorboard\n"
    assert (here / "tensorboard" / "tiny-0001").is_dir()
    refused = CliRunner().invoke(app, [str(finished), "--to", "tensorbord"])
    assert isinstance(refused.exception, PlanError)


def test_a_directory_without_a_round_or_with_a_damaged_journal_is_refused(tmp_path, finished):
    with pytest.raises(RunDirectoryError, match="holds no run"):
        replay(tmp_path, [Remembered()])
    (tmp_path / "plan.toml").write_bytes((finished / "plan.toml").read_bytes())
    with pytest.raises(RunDirectoryError, match="no finished round"):
        replay(tmp_path, [Remembered()])
    journal = (finished / "rounds.jsonl").read_text()
    (tmp_path / "rounds.jsonl").write_text(journal + '{"round": 3, "atte')
    remembered = Remembered()
    assert replay(tmp_path, [remembered]) == 2  # a torn last line was never part of it
    assert [dict(each) for each in remembered.beginning.lines] == [json.loads(each) for each in journal.splitlines()]
    assert remembered.ending.failure == "not finished"
    (tmp_path / "rounds.jsonl").write_text('{"round": 3, "atte\n' + journal)
    with pytest.raises(StorageError, match="cannot be read"):
        replay(tmp_path, [Remembered()])
