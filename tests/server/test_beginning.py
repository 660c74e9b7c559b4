"""What the operator sees of a run until its first round is closed."""

import re

import pytest

from fedcore.cli import build_app
from fedcore.storage.events import EventLog
from fedcore_server.consortium.members import init
from fedcore_server.runs.beginning import Beginning
from fedcore_server.runs.following import wait_for
from fedcore_server.runs.store import RunState, RunStore
from tests.server.served import Served, tiny_plan


@pytest.fixture
def log(tmp_path):
    return EventLog(tmp_path / "events.jsonl")


def started(log, *, incarnation=1):
    log.append("driver-started", run="run.1", incarnation=incarnation)


def test_each_step_before_the_first_round_is_told_once(log):
    beginning = Beginning(log.path, tiny_plan().to_mapping(), incarnation=0)
    assert list(beginning.news()) == []
    started(log)
    assert list(beginning.news()) == ["the run has started; it waits for 3 clients, at most 0 s"]
    log.append("clients-connected", clients=["north", "south"])
    assert list(beginning.news()) == ["north, south connected, 2 of 3"]
    assert list(beginning.news()) == []
    log.append("clients-connected", clients=["south", "west"])
    log.append("round-asked", round=1, attempt=0, asked=["north", "south", "west"])
    told = list(beginning.news())
    assert told[0] == "west connected, 3 of 3"
    assert told[1].startswith("round 1/3 is with 3 clients;")
    log.append("round-asked", round=2, attempt=0, asked=["north"])
    assert list(beginning.news()) == []


def test_a_driven_run_writes_what_its_beginning_is_told_by(tmp_path):
    served = Served(tmp_path)
    assert served.drive() == 0
    told = list(Beginning(served.directory / "events.jsonl", tiny_plan().to_mapping(), incarnation=0).news())
    assert told[0] == "the run has started; it waits for 3 clients, at most 0 s"
    assert told[1] == "client-0, client-1, client-2 connected, 3 of 3"
    assert told[2].startswith("round 1/3 is with 3 clients;")
    assert len(told) == 3


def test_what_was_before_a_run_was_resumed_is_not_told_again(log):
    started(log)
    log.append("clients-connected", clients=["north"])
    log.append("round-asked", round=1, attempt=0, asked=["north"])
    beginning = Beginning(log.path, tiny_plan().to_mapping(), incarnation=1)
    assert list(beginning.news()) == []
    started(log, incarnation=2)
    assert len(list(beginning.news())) == 1


def test_a_line_that_is_being_written_is_read_when_it_is_whole(log):
    started(log)
    whole = log.path.read_bytes()
    beginning = Beginning(log.path, tiny_plan().to_mapping(), incarnation=0)
    log.path.write_bytes(whole[:40])
    assert list(beginning.news()) == []
    log.path.write_bytes(whole)
    assert len(list(beginning.news())) == 1


def test_a_run_is_not_silent_without_follow(tmp_path, capsys):
    store = RunStore(tmp_path / "runs")
    before, name = store.submit(tiny_plan()), store.submit(tiny_plan())
    started(EventLog(store.path / name / "events.jsonl"))
    store.change(name, state=RunState.STOPPED, reason="stopped by an operator")
    assert wait_for(store, name, before=0, follow=False, as_json=False) == 5
    told = capsys.readouterr().err.splitlines()
    assert told[0] == f"run {name} is queued, behind {before}; Ctrl-C leaves it to the server"
    assert told[1].startswith("the run has started")


def test_each_line_of_the_server_begins_with_date_and_time(tmp_path, capsys, monkeypatch):
    class Server:
        def __init__(self, *_, show, **__):
            self.show = show

        def run(self):
            self.show("run digits-0001 started\x1b[2J")

    monkeypatch.setattr("fedcore_server.service.federation_server.FederationServer", Server)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    init(tmp_path / "federation", "heart", "localhost:9092")
    build_app()(["server", "start", "--home", str(tmp_path / "federation")], standalone_mode=False)
    told = capsys.readouterr().out
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d run digits-0001 started␛\[2J\n", told)
