"""A listener follows a run, and cannot end it."""

import json
import logging

import pytest

from fedcore.errors import RoundFailedError
from fedcore.listeners import Beginning, Listeners
from fedcore.round_line import figures_of, worst_group
from fedcore_simulations import simulate
from fedcore_simulations.runner import resume
from tests.builders import Remembered, Stopping, TinyTask, build_plan


class Broken(Remembered):
    name = "broken"

    def round_closed(self, line):
        super().round_closed(line)
        raise OSError("the tracking server is away")


def test_a_listener_is_shown_the_plan_every_line_of_the_journal_and_the_summary(tmp_path):
    listener = Remembered()
    result = simulate(TinyTask(), build_plan(), out=tmp_path / "run", listeners=[listener])
    assert listener.plan == result.plan
    assert (listener.beginning.run, listener.beginning.task, listener.beginning.rows) == ("run", "tiny", 120)
    assert listener.beginning.clients == tuple(f"client-{number}" for number in range(4))
    journal = [json.loads(line) for line in (tmp_path / "run" / "rounds.jsonl").read_text().splitlines()]
    assert [dict(line) for line in listener.lines] == journal
    assert listener.ending.summary == result.summary
    assert (listener.ending.directory / "report.html").is_file()


def test_a_listener_that_raises_is_logged_once_with_its_name_and_changes_nothing(caplog):
    listener, plan = Broken(), build_plan()
    with caplog.at_level(logging.WARNING, logger="fedcore"):
        result = simulate(TinyTask(), plan, listeners=[listener])
    assert len(listener.lines) == 3
    assert [r.message for r in caplog.records] == ["listener broken failed: OSError: the tracking server is away"]
    assert result.summary["model_sha256"] == simulate(TinyTask(), plan).summary["model_sha256"]


def test_a_listener_without_a_name_cannot_end_a_run_either(caplog):
    listeners = Listeners([object()])
    with caplog.at_level(logging.WARNING, logger="fedcore"):
        listeners.round_closed({})
    assert caplog.records[0].message.startswith("listener object failed: AttributeError")


def test_a_run_that_pauses_ends_with_the_reason_and_every_attempt_is_shown():
    listener = Remembered()
    plan = build_plan(federation={"round_attempts": 2}, training={"learning_rate": 1e30}, audit={"sensitive": []})
    with pytest.raises(RoundFailedError):
        simulate(TinyTask(), plan, listeners=[listener])
    assert listener.ending.summary is None
    assert listener.ending.failure.startswith("paused: round 1 had 0 valid updates")
    assert [(line["attempt"], line["committed"]) for line in listener.lines] == [(0, False), (1, False)]


def test_a_resumed_run_begins_with_the_rounds_before(tmp_path):
    stopped, resumed = Stopping(), Remembered()
    plan = build_plan(task={"name": "tests.builders:TinyTask"})
    with pytest.raises(KeyboardInterrupt):
        simulate(None, plan, out=tmp_path / "run", listeners=[stopped])
    assert stopped.ending.failure == "stopped"
    resume(tmp_path / "run", listeners=[resumed])
    assert [line["round"] for line in resumed.beginning.lines] == [1]
    assert [line["round"] for line in resumed.lines] == [2, 3]


def test_of_an_unexpected_error_a_listener_learns_the_type_and_no_text():
    listener = Remembered()
    following = Listeners([listener]).following(build_plan(), Beginning(run="r", task="t", clients=()))
    with pytest.raises(ValueError, match="row 3"), following:
        raise ValueError("row 3 is 1.25")
    assert listener.ending.failure == "failed: ValueError"


def line(metric="accuracy", **values):
    groups = {"sex": {name: {"value": value} for name, value in values.items()}}
    return {
        "groups": groups, "group_metric": metric, "evaluation": {"loss": 0.5}, "training": {"loss": float("inf")},
        "counted": ["a", "b"], "epsilon": None, "update_norm": 2.0, "bytes_sent": 10,
    }  # fmt: skip


def test_the_worst_group_has_the_lowest_accuracy_or_the_greatest_error_and_is_not_a_hidden_one():
    assert worst_group(line(f=0.6, m=0.7, x=None)).name == "sex f"
    assert worst_group(line("mean_absolute_error", f=0.6, m=0.7, x=None)).name == "sex m"
    assert worst_group(line(x=None)) is None


def test_the_figures_of_a_round_are_its_finite_numbers_by_name():
    assert figures_of(line(f=0.6)) == {
        "evaluation/loss": 0.5, "update_norm": 2.0, "bytes_sent": 10.0, "counted": 2.0, "worst_group": 0.6,
    }  # fmt: skip
