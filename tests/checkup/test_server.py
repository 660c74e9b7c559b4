"""A server's home before a run."""

import contextlib
import fcntl
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from fedcore.checkup.finding import State, examine
from fedcore.plan import RunPlan
from fedcore.storage.events import EventLog
from fedcore.storage.files import write_whole
from fedcore_server.checkup.home import server_checks
from fedcore_server.checkup.plan import plan_findings
from fedcore_server.consortium.certificates import key_pem, new_key
from fedcore_server.consortium.home import ConsortiumHome
from fedcore_server.consortium.members import invite
from tests.builders import build_plan
from tests.checkup.builders import (
    PULL,
    Behaviour,
    build_server_home,
    contents,
    free_port,
    only,
    other_authority,
    plain_listener,
    reissue,
    serving,
    states,
)
from tests.trust.builders import welcome

pytestmark = pytest.mark.xdist_group("servers")

NOW = datetime.now(UTC)
TINY = {"task": {"name": "tests.builders:TinyTask"}}


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def home(tmp_path, port):
    return build_server_home(tmp_path / "federation", f"localhost:{port}")


def looked_at(home, plan=None, *, now=NOW):
    return examine(server_checks(home, plan=plan, clock=lambda: now))


@contextlib.contextmanager
def served(home, port, behaviour=None):
    """A server answers, and holds the home's lock."""
    with (home.path / "lock").open("a") as file, serving(home, port, behaviour) as asked:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield asked


def test_a_new_consortium_is_ready_but_for_its_members(home):
    invite(home.path, "hospital-a")
    before = contents(home.path)
    found = states(looked_at(home))
    assert {name: state for name, state in found.items() if state is not State.OK} == {
        "roster": State.WARNING,
        "route": State.SKIPPED,
        "database": State.SKIPPED,
        "events": State.SKIPPED,
    }
    assert contents(home.path) == before


def test_a_server_that_runs_answers_clients_and_nothing_else(home, port):
    welcome(home.path)
    (home.path / "flower.db").write_bytes(b"SQLite format 3\x00rest")
    EventLog(home.path / "events.jsonl").append("server-started")
    with served(home, port) as behaviour:
        found = looked_at(home)
    assert set(states(found).values()) == {State.OK}
    assert only(found, "roster").what == "version 2: hospital-a"
    assert ("POST", "/v1/control/list-runs") in behaviour.asked


@pytest.mark.parametrize("path", ["/v1/control/list-runs", "/v1/runtime/acquire-task", "/docs", "/openapi.json"])
@pytest.mark.parametrize("status", [200, 401, 422])
def test_whatever_of_flower_answers_on_the_public_port_is_a_problem(home, port, path, status):
    with served(home, port, Behaviour(statuses={PULL: 401, path: status})):
        found = only(looked_at(home), "exposure")
    assert found.state is State.PROBLEM
    assert f"answers on {path} (HTTP {status})" in found.what
    assert "stop the server" in found.advice


def test_a_server_that_lets_strangers_in_is_a_problem(home, port):
    with served(home, port, Behaviour(statuses={PULL: 200})):
        assert "answers an unauthenticated request with HTTP 200" in only(looked_at(home), "route").what


def test_an_address_that_leads_nowhere_from_here_is_told_from_a_server_that_does_not_answer(tmp_path, port):
    home = build_server_home(tmp_path / "federation", f"127.0.0.99:{free_port()}")
    (home.path / "server.json").write_text(json.dumps({"port": port}))
    with served(home, port):
        found = looked_at(home)
    assert only(found, "route").state is State.WARNING
    assert (
        f"the server answers at 127.0.0.1:{port}, but from this machine not at 127.0.0.99" in only(found, "route").what
    )
    assert only(found, "exposure").state is State.OK
    with (home.path / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert only(looked_at(home), "route").state is State.PROBLEM


def test_a_port_that_something_else_has_taken_is_told_before_the_start(home, port):
    with plain_listener(port, b"220 mail ready\r\n"):
        found = only(looked_at(home), "route")
    assert found.state is State.PROBLEM
    assert f"another program listens at localhost:{port}" in found.what
    with serving(home, port):
        assert only(looked_at(home), "route").state is State.WARNING


@pytest.mark.parametrize(
    ("days", "state", "told"),
    [
        (60, State.OK, "valid until"),
        (80, State.WARNING, "expires on"),
        (100, State.PROBLEM, "expired on"),
        (-3, State.PROBLEM, "valid only from"),
    ],
)
def test_the_servers_certificate_is_told_before_it_expires(home, days, state, told):
    found = only(looked_at(home, now=NOW + timedelta(days=days)), "certificate")
    assert found.state is state
    assert told in found.what
    assert state is State.OK or "renew" in found.advice or days < 0


def test_a_certificate_for_another_address_authority_or_key_is_a_problem(home):
    write_whole(home.settings_file, home.settings_file.read_text().replace("localhost", "fl.example.org"))
    found = looked_at(home)
    assert "clients connect to fl.example.org" in only(found, "certificate").what
    assert only(found, "certificate").advice.startswith("fedcore consortium renew")
    assert "its server address is localhost" in next(each.what for each in found if each.name == "roster")
    reissue(home, host="fl.example.org")
    assert only(looked_at(home), "certificate").state is State.OK
    reissue(home, host="fl.example.org", authority=other_authority())
    assert "not signed by this consortium's authority" in only(looked_at(home), "certificate").what
    reissue(home, host="fl.example.org")
    write_whole(home.server_key, key_pem(new_key()))
    home.server_key.chmod(0o600)
    assert "is not that of the certificate" in only(looked_at(home), "certificate").what


@pytest.mark.parametrize("address", ["FL.Example.ORG:9092", "[2001:DB8:0:0::1]:9092"])
def test_the_spelling_of_an_address_is_no_fault(tmp_path, address):
    home = build_server_home(tmp_path / "federation", address)
    reissue(home, host="2001:db8::1" if "[" in address else "fl.example.org")
    assert only(looked_at(home), "certificate").state is State.OK


def test_keys_that_others_may_read_are_each_a_problem(home):
    invite(home.path, "hospital-a")
    for path in (home.authority_key, home.coordinator_key, home.invitation_file("hospital-a")):
        path.chmod(0o644)
    found = [each for each in looked_at(home) if each.name == "keys"]
    assert [each.state for each in found] == [State.PROBLEM] * 3


def test_a_switch_that_opens_a_second_way_in_is_a_problem(home, monkeypatch):
    monkeypatch.setenv("FLWR_INTERNAL_GRPC_CONTROL_API", "1")
    assert "FLWR_INTERNAL_GRPC_CONTROL_API=1" in only(looked_at(home), "process").what


def test_damaged_files_are_told_each_by_its_check(home):
    (home.path / "flower.db").write_bytes(b"no database, but long enough")
    (home.path / "runs" / "digits-0001").mkdir(parents=True)
    (home.path / "runs" / "digits-0001" / "events.jsonl").write_bytes(b"no json\n")
    found = states(looked_at(home))
    assert found["database"] == found["events"] == State.PROBLEM
    for path in home.path.rglob("*.*"):
        if path.is_file():
            path.write_bytes(b"\x00 no longer itself")
    found = states(looked_at(home, build_plan(**TINY)))
    assert found["home"] == found["keys"] == found["certificate"] == found["roster"] == State.PROBLEM
    assert found["disk"] == State.OK


def test_a_home_that_is_gone_raises_nothing(tmp_path):
    found = states(looked_at(ConsortiumHome(tmp_path / "absent"), build_plan(**TINY)))
    assert found["home"] == State.PROBLEM


# the plan


def test_a_plan_is_held_against_the_roster(home):
    plan = build_plan(**TINY, federation={"clients": 2, "quorum": 2})
    assert "quorum 2, and the roster has 0 members" in only(looked_at(home, plan), "plan").what
    welcome(home.path, "hospital-a")
    plan = build_plan(**TINY, federation={"clients": 2})
    found = only(looked_at(home, plan), "plan")
    assert (found.state, "2 clients, and the roster has 1; it waits 600 s" in found.what) == (State.WARNING, True)
    welcome(home.path, "hospital-b")
    assert only(looked_at(home, plan), "plan").state is State.OK


def test_the_disk_must_hold_the_replies_of_a_round_too(home, monkeypatch):
    model, clients = 1_000_000_000, 4
    monkeypatch.setattr("fedcore_server.checkup.home.model_bytes_if_known", lambda plan: model)
    monkeypatch.setattr("fedcore.checkup.machine.shutil.disk_usage", lambda path: SimpleNamespace(free=9 * model))
    plan = build_plan(**TINY, federation={"clients": clients})
    found = only(looked_at(home, plan), "disk")
    assert found.state is State.PROBLEM
    assert "expected 10.0 GB, 10 times the model of 1.0 GB" in found.what  # 3 checkpoints, 4 replies, request and log
    smaller = build_plan(**TINY, federation={"clients": clients, "cohort_size": 3})
    assert only(looked_at(home, smaller), "disk").state is State.OK


def test_a_plan_whose_noise_drowns_all_that_few_clients_learn_is_warned_of():
    privacy = {"unit": "client", "epsilon": 8.0}
    found = {
        clients: list(
            plan_findings(RunPlan.from_mapping({"privacy": privacy, "federation": {"clients": clients}}), None)
        )
        for clients in (10, 10_000)
    }
    assert [finding.state for finding in found[10]] == [State.WARNING, State.OK]
    assert "would learn next to nothing" in found[10][0].what
    assert "take unit record" in found[10][0].advice
    assert [finding.state for finding in found[10_000]] == [State.OK]


def test_every_fault_of_a_plan_is_told(home):
    plan = build_plan(**TINY, audit={"sensitive": ["sex"]}, privacy={"unit": "record", "noise_multiplier": 1.0})
    found = [each.what for each in looked_at(home, plan) if each.name == "plan"]
    assert [each.partition(":")[0] for each in found] == [
        "privacy.nominal-batch",
        "audit.vocabularies",
    ]


def test_a_task_that_is_not_installed_is_told(home):
    plan = build_plan(task={"name": "absent_module:task"})
    assert "module 'absent_module' cannot be imported" in only(looked_at(home, plan), "plan").what
