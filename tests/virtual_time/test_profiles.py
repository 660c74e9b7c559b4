"""Device profiles: what a file may hold, and how it becomes part of the plan."""

import pytest

from fedcore.errors import PlanError
from fedcore.plan import RunPlan
from fedcore.plan.devices.profiles import included, with_profiles
from fedcore.plan.own_files import with_own_files
from fedcore.plan.resolve import resolve
from tests.virtual_time.builders import kind, kinds, timed_plan

OWN = """
[tablet]
share = 2
gigaflops = 3
downlink-megabits-per-second = 50
uplink-megabits-per-second = 10
"""


def plan_with(path, **sections):
    return RunPlan.from_mapping({"devices": {"profiles": str(path)}, **sections})


def problems(call, *arguments):
    with pytest.raises(PlanError) as refused:
        call(*arguments)
    return refused.value.problems


@pytest.mark.parametrize("name", included())
def test_every_included_profile_is_read_and_says_where_its_numbers_come_from(name):
    plan = with_profiles(plan_with(name))
    assert plan.devices.profiles == name
    assert len(plan.devices.kinds) >= 3
    assert "Where the numbers come from" in included()[name].read_text()


def test_the_content_of_profiles_is_in_the_plans_hash_and_their_path_is_not(tmp_path):
    one, copy, other = tmp_path / "one.toml", tmp_path / "copy.toml", tmp_path / "other.toml"
    one.write_text(OWN)
    copy.write_text(OWN)
    other.write_text(OWN.replace("gigaflops = 3", "gigaflops = 4"))
    hashes = [with_own_files(plan_with(path)).sha256 for path in (one, copy, other)]
    assert hashes[0] == hashes[1] != hashes[2]
    assert hashes[0] != RunPlan.from_mapping({}).sha256


def test_a_plan_of_a_finished_run_is_read_again_without_its_file(tmp_path):
    (tmp_path / "own.toml").write_text(OWN)
    plan = with_profiles(plan_with(tmp_path / "own.toml"))
    assert RunPlan.from_mapping(plan.to_mapping()) == plan
    assert with_profiles(plan) == plan
    (tmp_path / "own.toml").unlink()
    assert with_profiles(plan) == plan
    assert "no file at" in problems(with_profiles, plan.updated(devices={"profiles": "phnes"}))[0]


def test_profiles_that_were_changed_since_are_refused(tmp_path):
    (tmp_path / "own.toml").write_text(OWN)
    plan = with_profiles(plan_with(tmp_path / "own.toml"))
    (tmp_path / "own.toml").write_text(OWN.replace("share = 2", "share = 1"))
    assert "it was changed, or another was named. Remove devices.kinds" in problems(with_profiles, plan)[0]


def test_all_problems_of_a_file_are_reported_at_once_with_the_nearest_key(tmp_path):
    (tmp_path / "own.toml").write_text(
        OWN.replace("gigaflops", "gigaflop") + "dropout = 2\navailable = 0\n[phone]\njitter = -1\n"
    )
    found = "\n".join(problems(with_profiles, plan_with(tmp_path / "own.toml")))
    assert "unknown key in [devices.kinds.tablet]: 'gigaflop'; did you mean 'gigaflops'?" in found
    assert "devices.kinds.tablet.dropout: expected less than or equal to 1, found 2" in found
    assert "devices.kinds.tablet.available: expected greater than 0, found 0" in found
    assert "devices.kinds.phone.gigaflops: missing" in found
    assert "devices.kinds.phone.jitter: expected greater than or equal to 0, found -1" in found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty; expected a table for each kind of device"),
        ("[tablet", "cannot be read as TOML"),
        ("gigaflops = 3", "devices.kinds.gigaflops: expected a table, found 3"),
    ],
)
def test_files_that_are_no_profiles_are_refused(tmp_path, text, expected):
    (tmp_path / "own.toml").write_text(text)
    assert expected in problems(with_profiles, plan_with(tmp_path / "own.toml"))[0]


def test_a_name_that_is_not_included_is_refused_with_the_nearest():
    assert "did you mean 'phones'?" in problems(with_profiles, plan_with("phnes"))[0]


BAD_PLANS = {
    "wait-for above the cohort": (
        {"devices": {"profiles": "phones", "wait-for": 6}, "federation": {"cohort-size": 5}},
        "devices.wait-for: expected at most the cohort, found 6",
    ),
    "wait-for below the quorum": (
        {"devices": {"profiles": "phones", "wait-for": 2}, "federation": {"quorum": 3}},
        "no quorum of 3",
    ),
    "wait-for without devices": ({"devices": {"wait-for": 2}}, "name profiles too"),
    "operations without devices": ({"devices": {"flops-per-example": 2.0}}, "name profiles too"),
    "devices that all drop out": (
        {"devices": {"kinds": {"a": kind(dropout=1.0), "b": kind(dropout=1)}}},
        "every kind has a dropout of 1",
    ),
    "unit client": (
        {"devices": {"profiles": "phones"}, "privacy": {"unit": "client", "epsilon": 3.0}},
        "the noise of unit client does not cover",
    ),
}


@pytest.mark.parametrize("name", BAD_PLANS)
def test_contradictions_are_refused(name):
    mapping, expected = BAD_PLANS[name]
    assert any(expected in problem for problem in problems(RunPlan.from_mapping, mapping))


@pytest.mark.parametrize("algorithm", ["fedavg", "fedbuff:3", "fedasync"])
def test_a_deployment_refuses_devices(algorithm):
    plan = timed_plan(algorithm=algorithm, devices=kinds())
    assert "devices of their own, and real time" in problems(resolve, plan)[0]


@pytest.mark.parametrize("algorithm", ["fedbuff:3", "fedasync"])
def test_a_deployment_refuses_asynchronous_algorithms(algorithm):
    assert "in simulated time only" in problems(resolve, timed_plan(algorithm=algorithm))[0]
