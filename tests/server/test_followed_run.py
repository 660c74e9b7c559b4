"""In a deployment the server shows a run to its event log and its trackers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fedcore.errors import PlanError
from fedcore.round_line import figures_of
from fedcore.storage.events import read_events, verify_events
from fedcore_server.runs import process as run_process
from fedcore_server.runs.deployable_plan import deployable
from fedcore_server.runs.store import RunState
from tests.server.served import Served, tiny_plan
from tests.tracking.test_tensorboard import read


def tracked(folder: Path):
    return tiny_plan().updated(run={"track": [{"name": "tensorboard", "directory": str(folder)}]})


def die_after_the_second_round():
    real = run_process.RoundEvents.round_closed

    def closed(self, line):
        real(self, line)
        if line["round"] == 2:
            os._exit(9)

    run_process.RoundEvents.round_closed = closed


def test_a_run_that_died_is_tracked_anew_with_the_rounds_before(tmp_path):
    served = Served(tmp_path, tracked(tmp_path / "curves"))
    assert served.drive(die_after_the_second_round) == 9
    assert served.drive() == 0
    scalars, texts = read(tmp_path / "curves" / f"{served.name}-2")
    for line in served.rounds():
        for name, value in figures_of(line).items():
            assert scalars[name, line["round"]] == pytest.approx(value, rel=1e-5), name
    assert {step for _, step in scalars} == {1, 2, 3}
    assert "summary" in texts


def test_the_event_log_has_every_round_and_the_release(tmp_path):
    served = Served(tmp_path)
    assert served.drive() == 0
    events = list(read_events(served.directory / "events.jsonl"))
    committed = [event for event in events if event["event"] == "round-committed"]
    assert [event["round"] for event in committed] == [1, 2, 3]
    assert [sorted(event["counted"]) for event in committed] == [sorted(line["counted"]) for line in served.rounds()]
    assert events[-1]["event"] == "released"
    assert verify_events(served.directory / "events.jsonl") == []


def break_the_tracker():
    from fedcore.tracking.tensorboard import TensorboardTracker

    def closed(self, line):
        raise OSError("no space left on device")

    TensorboardTracker.round_closed = closed


def test_a_tracker_that_fails_ends_no_run(tmp_path):
    served = Served(tmp_path, tracked(tmp_path / "curves"))
    assert served.drive(break_the_tracker) == 0
    assert served.status.state == RunState.FINISHED


def test_an_unknown_tracker_is_refused_when_the_run_is_submitted():
    with pytest.raises(PlanError, match="did you mean 'tensorboard'"):
        deployable(tiny_plan().updated(run={"track": ["tensorbord"]}))
