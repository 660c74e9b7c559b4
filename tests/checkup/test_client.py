"""A client's home before a run: what its own policy, account and data would do to a plan."""

import fcntl
import json
import sys
from datetime import UTC, datetime, timedelta

import pytest
import tomli_w
import torch
from torch import nn

from fedcore import Attribute, Examples
from fedcore.checkup.finding import State, examine
from fedcore.data.example_files import SUFFIX, save_client_file
from fedcore.errors import DataError
from fedcore.plan import RunPlan, merge
from fedcore.storage.events import EventLog
from fedcore.trust.identity import Identity
from fedcore.trust.roster import Member
from fedcore_clients.checkup.home import client_checks
from fedcore_clients.policy.budget import Account
from fedcore_clients.policy.request_facts import RequestFacts
from fedcore_clients.policy.settings import Policy
from fedcore_server.consortium.members import remove
from tests.builders import TinyTask
from tests.checkup.builders import build_client_home, build_server_home, contents, free_port, only, serving, states
from tests.trust.builders import build_member

pytestmark = pytest.mark.xdist_group("servers")

NOW = datetime.now(UTC)
TINY = "tests.builders:TinyTask"
POLICY = {
    "tasks": {"allowed": [TINY]},
    "data": {"allowed": {TINY: [TINY], "wards": [TINY]}},
    "release": {"evaluation": ["loss", "accuracy"], "group-tables": ["sex"]},
}
PLAN = {
    "task": {"name": TINY},
    "federation": {"clients": 3, "rounds": 5},
    "training": {"device": "cpu"},
    "privacy": {"unit": "record", "noise-multiplier": 4.0, "nominal-batch": 40.0},
    "audit": {"sensitive": ["sex"], "vocabularies": {"sex": ["female", "male", "unknown"]}},
}


@pytest.fixture
def server(tmp_path):
    return build_server_home(tmp_path / "federation", f"localhost:{free_port()}")


@pytest.fixture
def home(tmp_path, server):
    return build_client_home(tmp_path / "hospital-a", server)


@pytest.fixture
def rows(tmp_path):
    return written_rows(tmp_path / f"rows{SUFFIX}")


def written_rows(path, *, count=120, held_out=40):
    save_client_file(path, TinyTask(rows=count).load_data(None), TinyTask(rows=held_out, seed=1).load_data(None))
    return path


def write_policy(home, **sections):
    policy = Policy.from_mapping(merge(POLICY, sections))
    home.policy.write_text(tomli_w.dumps(policy.to_mapping()))
    return policy


def build_plan(**sections):
    return RunPlan.from_mapping(merge(PLAN, sections))


def looked_at(home, plan=None, data=None):
    return examine(client_checks(home, plan=plan, data=data or {}, clock=lambda: NOW))


def roster_of(home, server, *names):
    """Give the client the roster, with some members more."""
    roster = server.roster()
    for name in names:
        roster = roster.with_member(build_member(name))
    home.roster.write_text(roster.signed(server.coordinator()))


def of(findings, name):
    return [each for each in findings if each.name == name]


def test_a_client_that_is_ready_is_told_so_and_nothing_in_its_home_is_changed(home, server, rows):
    write_policy(home)
    roster_of(home, server, "b", "c")
    before = contents(home.path)
    with serving(server, int(server.settings().address.partition(":")[2])):
        found = looked_at(home, build_plan(), {TINY: rows})
    assert {name: state for name, state in states(found).items() if state is not State.OK} == {"events": State.SKIPPED}
    assert only(found, f"data {TINY}").what.endswith("120 training, 40 held-out rows")
    assert "5 rounds" in only(found, "plan").what
    assert contents(home.path) == before


def test_a_client_that_has_just_joined_is_told_what_is_missing(home):
    found = states(looked_at(home, build_plan(), {"wards": home.path}))
    assert found["home"] == found["keys"] == found["certificate"] == State.OK
    assert found["route"] == found["policy"] == State.PROBLEM
    assert found["clock"] == found["roster"] == found["plan"] == found["data wards"] == State.SKIPPED


def test_a_damaged_home_ends_no_check_of_the_others(home):
    for path in home.path.iterdir():
        path.write_bytes(b"\x00 no longer itself")
    found = states(looked_at(home, build_plan(), {TINY: home.path}))
    assert found["home"] == found["keys"] == found["certificate"] == found["policy"] == State.PROBLEM
    assert found["disk"] == found["process"] == State.OK


def test_keys_that_others_may_read_are_a_problem(home):
    home.flower_key.chmod(0o644)
    found = only(looked_at(home), "keys")
    assert found.state is State.PROBLEM
    assert "expected mode 0600, found 0644" in found.what


def test_an_authority_that_expires_soon_is_told(home):
    found = examine(client_checks(home, plan=None, data={}, clock=lambda: NOW + timedelta(days=5 * 365 - 5)))
    assert only(found, "certificate").state is State.WARNING


def test_a_roster_without_this_client_or_with_another_key_is_a_problem(home, server):
    write_policy(home)
    roster = server.roster()
    roster_of(home, server)
    assert only(looked_at(home), "roster").what == "version 2 with 1 member, hospital-a among them"
    remove(server.path, "hospital-a")
    roster_of(home, server, "b")
    assert "does not hold hospital-a" in only(looked_at(home), "roster").what
    member = roster.member("hospital-a")
    other = Member(
        name=member.name,
        identity_key=Identity.create("x").public.key,
        flower_key=member.flower_key,
        admitted=member.admitted,
    )
    forged = server.roster().with_member(other)
    home.roster.write_text(forged.signed(server.coordinator()))
    assert "with another key" in only(looked_at(home), "roster").what
    home.roster.write_text(home.roster.read_text().replace("heart", "lungs"))
    assert only(looked_at(home), "roster").state is State.PROBLEM


def test_a_running_client_is_told_with_what_it_says(home):
    with home.lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert only(looked_at(home), "process").what == "a client runs in this home"
        (home.path / "status.json").write_text(json.dumps({"problem": "the server does not answer"}))
        found = only(looked_at(home), "process")
    assert (found.state, found.what) == (
        State.WARNING,
        "a client runs here, with a problem: the server does not answer",
    )


def test_a_policy_that_allows_nothing_or_is_none_is_told(home):
    home.policy.write_text("")
    assert only(looked_at(home), "policy").state is State.WARNING
    home.policy.write_text("[tasks]\nalowed = []\n[privcy]\n")
    found = of(looked_at(home, build_plan()), "policy")
    assert len(found) == 2
    assert all(each.state is State.PROBLEM for each in found)


def test_a_broken_chain_is_told(home):
    log = EventLog(home.events)
    log.append("started")
    log.append("stopped")
    home.events.write_bytes(home.events.read_bytes().replace(b"started", b"stopped"))
    assert only(looked_at(home), "events").state is State.PROBLEM


# the plan


@pytest.mark.parametrize(
    ("policy", "plan", "code"),
    [
        ({"tasks": {"allowed": ["digits"]}, "data": {"allowed": {}}}, {}, "TASK"),
        ({"data": {"allowed": {TINY: []}}}, {}, "DATA"),
        ({"training": {"rounds": [1, 4]}}, {}, "ROUNDS"),
        ({"cohort": {"minimum": 4}}, {}, "COHORT"),
        ({}, {"privacy": {"noise-multiplier": 0.1}}, "PRIVACY"),
        ({"release": {"evaluation": []}}, {}, "METRICS"),
        ({"limits": {"model-megabytes": 1e-5}}, {}, "SIZE"),
        ({"approval": {"required": True}}, {}, "APPROVAL"),
        ({}, {"training": {"optimizer": "LBFGS"}}, "RANGE"),
    ],
)
def test_each_refusal_that_a_plan_would_meet_is_told(home, server, policy, plan, code):
    home.policy.write_text(tomli_w.dumps({**POLICY, **{name: POLICY.get(name, {}) | policy[name] for name in policy}}))
    roster_of(home, server, "b", "c")
    before = contents(home.path)
    found = of(looked_at(home, build_plan(**plan)), "plan")
    assert any(each.what.startswith(f"refused with {code}:") for each in found)
    assert all(each.state is State.PROBLEM for each in found)
    assert contents(home.path) == before


def test_a_plan_needs_the_members_of_its_cohort(home, server):
    write_policy(home)
    roster_of(home, server)
    assert "refused with COHORT" in only(looked_at(home, build_plan()), "plan").what
    home.roster.unlink()
    found = only(looked_at(home, build_plan()), "plan")
    assert found.state is State.OK
    assert "a roster with all of its clients is assumed" in found.what


def test_a_budget_that_the_plan_would_overdraw_is_told_and_not_charged(home):
    policy = write_policy(home, privacy={"budget": {"epsilon": 3.0}})
    plan = build_plan()
    assert only(looked_at(home, plan), "plan").state is State.OK
    facts = RequestFacts(
        run="before",
        incarnation=1,
        round=1,
        attempt=0,
        kind="train",
        plan=plan.updated(privacy={"noise-multiplier": 0.6}),
        cohort=("hospital-a",),
        roster_version=1,
        model_dtype="float32",
        array_bytes=8,
    )
    larger = policy.privacy.budget.model_copy(update={"epsilon": 50.0})
    Account.opened(home, policy.privacy.model_copy(update={"budget": larger}), lambda: NOW).charge(facts)
    before = home.ledger.read_bytes()
    found = looked_at(home, plan)
    assert "refused with BUDGET" in only(found, "plan").what
    assert only(found, "ledger").state is State.PROBLEM
    assert "of the budget, ε = 3 at δ = 1e-05, is spent or reserved" in only(found, "ledger").what
    assert home.ledger.read_bytes() == before


def test_a_damaged_account_is_a_problem(home):
    home.ledger.write_bytes(b"no charge" * 1000)
    assert "what was spent is unknown" in only(looked_at(home), "ledger").what


def test_an_account_of_an_earlier_version_is_told_and_left_for_the_start(home):
    home.spends.write_text("{}\n")
    assert "imported at the next start" in of(looked_at(home), "ledger")[0].what
    assert home.spends.exists()
    assert not home.ledger.exists()


def test_data_that_no_mark_can_be_kept_beside_is_told(home, rows, monkeypatch):
    write_policy(home)
    monkeypatch.setattr("fedcore_clients.ledger.rollback_marks.os.access", lambda *_: False)
    found = of(looked_at(home, data={TINY: rows}), "ledger")
    assert any("a home restored from a backup would not be detected" in each.what for each in found)


def test_a_plan_that_leaves_open_what_a_server_cannot_know_is_told(home):
    write_policy(home)
    plan = RunPlan.from_mapping({**PLAN, "privacy": {"unit": "record", "noise-multiplier": 4.0}})
    assert only(looked_at(home, plan), "plan").what.startswith("privacy.nominal-batch")


def test_the_hash_to_approve_is_that_of_the_plan_as_a_server_sends_it(home, rows):
    from fedcore_server.runs.deployable_plan import deployable

    write_policy(home, approval={"required": True})
    written = RunPlan.from_mapping({**PLAN, "privacy": {"unit": "record", "epsilon": 4.0, "nominal-batch": 40.0}})
    found = of(looked_at(home, written), "plan")[0].what
    assert f"fedcore client approve {deployable(written).sha256[:12]}" in found


def test_the_code_of_a_task_that_the_policy_does_not_allow_is_not_run(home, rows, tmp_path, monkeypatch):
    (tmp_path / "trap.py").write_text("import sys\nsys.sprung = True\ndef task(**options):\n    sys.sprung = True\n")
    monkeypatch.chdir(tmp_path)
    write_policy(home)
    plan = build_plan(task={"name": "trap:task", "options": {"command": "x"}})
    found = looked_at(home, plan, {"trap:task": rows})
    assert not hasattr(sys, "sprung")
    assert "refused with TASK" in of(found, "plan")[0].what
    assert "its code is not run" in [each.what for each in of(found, "data trap:task")][-1]
    write_policy(home, tasks={"allowed": ["trap:task", TINY]})
    looked_at(home, plan, {"trap:task": rows})
    assert not hasattr(sys, "sprung"), "an option that the policy does not list"


def test_a_device_that_is_not_there_is_told_beside_the_refusals(home):
    write_policy(home)
    found = looked_at(home, build_plan(training={"device": "cuda:77"}))
    assert only(found, "plan").state is State.OK
    assert "device 'cuda:77' cannot be used" in only(found, "plan device").what


# the data


class Unreadable(TinyTask):
    def load_data(self, path):
        raise ValueError("could not convert 'Jane Doe, 4711'")


class WithGaps(TinyTask):
    def load_data(self, path):
        data = super().load_data(path)
        data.columns["inputs"][5, 1] = float("nan")
        return data


class WithBatchNorm(TinyTask):
    def build_model(self):
        return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))


class WithOtherGroups(TinyTask):
    def load_data(self, path):
        data = super().load_data(path)
        sex = Attribute(codes=torch.zeros(len(data), dtype=torch.int64), vocabulary=("f", "m", "unknown"))
        return Examples(columns=data.columns, attributes={"sex": sex})


class Nothing(TinyTask):
    def load_data(self, path):
        raise DataError("no rows after cleaning")


class Leaving(TinyTask):
    def load_data(self, path):
        raise SystemExit(3)


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ("Unreadable", "load_data failed: ValueError in "),
        ("WithGaps", "column 'inputs' holds numbers that are not finite in 1 of 120 rows"),
        ("WithBatchNorm", "BatchNorm"),
        ("WithOtherGroups", "no attribute 'sex' with the vocabulary that the plan declares"),
        ("Nothing", "no rows after cleaning"),
        ("Leaving", "the check ended in an unexpected SystemExit"),
    ],
)
def test_data_that_the_task_cannot_use_is_told_without_a_value(home, tmp_path, task, told):
    name = f"{__name__}:{task}"
    write_policy(home, tasks={"allowed": [TINY, name]}, data={"allowed": {"wards": [name]}})
    found = only(looked_at(home, build_plan(task={"name": name, "data": "wards"}), {"wards": tmp_path}), "data wards")
    assert found.state is State.PROBLEM
    assert told in found.what
    assert "4711" not in str(found)


@pytest.mark.parametrize(
    ("count", "release", "told"),
    [
        (15, {}, "release.min-examples is 20, and there are fewer training rows"),
        (120, {"evaluation": ["loss"]}, "release.evaluation does not list accuracy, which the task measures"),
        (120, {"min-examples": 60}, "release.min-examples is 60, and there are fewer held-out rows"),
    ],
)
def test_replies_that_would_not_be_let_out_are_told(home, tmp_path, count, release, told):
    write_policy(home, release=release)
    found = looked_at(home, build_plan(), {TINY: written_rows(tmp_path / f"few{SUFFIX}", count=count)})
    assert only(found, f"data {TINY}").what == told


def test_updates_without_privacy_tell_a_metric_that_the_policy_must_list(home, rows):
    write_policy(home, privacy={"required": False})
    plan = RunPlan.from_mapping({name: section for name, section in PLAN.items() if name != "privacy"})
    assert "release.training does not list loss" in only(looked_at(home, plan, {TINY: rows}), f"data {TINY}").what


def test_the_number_of_rows_is_not_told_where_it_is_secret(home, rows):
    write_policy(home)
    found = only(looked_at(home, build_plan(privacy={"relation": "add-remove"}), {TINY: rows}), f"data {TINY}")
    assert found.state is State.OK
    assert "120" not in found.what


def test_data_is_looked_at_without_a_plan_as_far_as_it_goes(home, rows, tmp_path):
    write_policy(home)
    found = looked_at(home, None, {"wards": rows, TINY: tmp_path, "unlisted": tmp_path, "absent": tmp_path / "absent"})
    assert only(found, "data wards").what == "120 training and 40 held-out rows"
    assert only(found, f"data {TINY}").state is State.OK
    assert states(found)["data unlisted"] is State.WARNING
    assert only(found, "data absent").state is State.PROBLEM


def test_data_that_the_plan_does_not_ask_for_and_data_that_is_not_named_are_told(home, rows):
    write_policy(home)
    found = looked_at(home, build_plan(), {"wards": rows})
    assert only(found, "data wards").state is State.SKIPPED
    assert f"the plan asks for data set '{TINY}', whose path was not given" in only(found, "data").what
