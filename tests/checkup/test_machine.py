"""The machine, the two kinds of files that every home has, and that no check ends the others."""

import collections
import fcntl
import resource
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import torch

from fedcore.checkup import machine
from fedcore.checkup.finding import Check, State, examine, ok
from fedcore.checkup.home import certificate, chain, private_files
from fedcore.checkup.machine import TESTED, device, disk, limits, machine_checks, telemetry, versions
from fedcore.errors import DeploymentError, PlanError, TrustError
from fedcore.storage.events import EventLog
from fedcore.storage.lock import is_locked
from fedcore_server.consortium.certificates import Authority, certificate_pem
from tests.checkup.builders import states

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def one(findings):
    (found,) = findings
    return found


def test_this_machine_can_be_looked_at():
    found = examine(machine_checks())
    assert {each.name for each in found} == {"versions", "telemetry", "limits", "device"}
    assert all(each.state in (State.OK, State.WARNING) for each in found)


def test_the_tested_versions_are_those_of_the_constraints():
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    assert all(pinned[name].startswith(f"{version}.") for name, version in TESTED.items())


@pytest.mark.parametrize(
    ("name", "version", "state", "told"),
    [
        ("flwr", "1.42.7", State.OK, "flwr 1.42.7"),
        ("flwr", "1.43.0", State.PROBLEM, "flwr 1.43.0, opacus 1.6.0; expected flwr 1.42"),
        ("flwr", None, State.PROBLEM, "flwr absent"),
        ("torch", "2.12.1+cu126", State.WARNING, "tested are torch 2.13"),
        ("torch", None, State.PROBLEM, "torch absent"),
        ("opacus", "1.60.0", State.WARNING, "tested are opacus 1.6"),
    ],
)
def test_versions_that_were_not_tested_are_told(monkeypatch, name, version, state, told):
    tested = {each: f"{number}.0" for each, number in TESTED.items()}
    monkeypatch.setattr(machine, "_installed", lambda each: version if each == name else tested[each])
    found = one(versions())
    assert found.state is state
    assert told in found.what


@pytest.mark.parametrize("version", ["1.41.0", "1.43.0", "1.420.0", None])
def test_another_flower_is_refused_before_anything_starts(monkeypatch, version):
    machine.check_flower()
    monkeypatch.setattr(machine, "_installed", lambda name: version)
    with pytest.raises(DeploymentError, match=r'expected flwr 1\.42.*pip install "flwr==1\.42\.\*"'):
        machine.check_flower()


def test_an_untested_python_is_told(monkeypatch):
    monkeypatch.setattr(machine.sys, "version_info", (3, 19, 0))
    assert one(versions()).state is State.WARNING


@pytest.mark.parametrize("name", machine._SWITCHES)
def test_each_switch_of_telemetry_counts(monkeypatch, name):
    assert one(telemetry()).state is State.OK
    monkeypatch.delenv(name)
    found = one(telemetry())
    assert found.state is State.PROBLEM
    assert found.advice == f"export {name}={machine._SWITCHES[name]}"


def test_few_open_files_and_little_memory_are_told(monkeypatch):
    memory = collections.namedtuple("Memory", "available")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1024))
    assert one(limits()).advice == "ulimit -n 1024"
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory(300_000_000))
    found = one(limits())
    assert (found.state, found.what) == (
        State.WARNING,
        "any number of open files, 0.3 GB of memory free; expected 1 GB or more",
    )


@pytest.mark.parametrize(
    ("free", "model_bytes", "state"),
    [
        (1.1e9, 0, State.OK),
        (0.9e9, 0, State.PROBLEM),
        (1.1e9, 400_000_000, State.PROBLEM),
        (1.3e9, 400_000_000, State.OK),
    ],
)
def test_disk_must_hold_three_models_and_a_gigabyte(tmp_path, monkeypatch, free, model_bytes, state):
    usage = collections.namedtuple("Usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(free) if path.exists() else pytest.fail("absent"))
    assert one(disk(tmp_path / "not" / "yet", model_bytes=model_bytes)).state is state


def test_a_machine_without_cuda_is_no_fault_unless_it_has_a_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(Path, "exists", lambda _: False)
    assert one(device()).state is State.OK
    monkeypatch.setattr(Path, "exists", lambda _: True)
    assert one(device()).state is State.WARNING


def test_a_device_that_fails_a_small_product_is_a_problem(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "H200")

    def fail(*_, **__):
        raise RuntimeError("CUDA error: no kernel image\nmore lines")

    monkeypatch.setattr(torch, "full", fail)
    found = one(device())
    assert (found.state, found.what) == (
        State.PROBLEM,
        "cuda:0 (H200) fails a small product: CUDA error: no kernel image",
    )


@pytest.mark.cuda
def test_a_device_that_works_is_told_with_its_memory():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    assert all(each.state is State.OK for each in device())


# checks


def raising(error):
    def run():
        yield ok("first", "found before")
        raise error

    return Check(name="second", run=run)


@pytest.mark.parametrize(
    "error", [ValueError("patient 4711"), SystemExit("patient 4711"), RecursionError("patient 4711")]
)
def test_a_check_that_raises_becomes_a_finding_that_tells_its_type_only(error):
    found = examine([raising(error), Check(name="third", run=lambda: [ok("third", "still looked at")])])
    assert [each.name for each in found] == ["first", "second", "third"]
    assert found[1].what == f"the check ended in an unexpected {type(error).__name__}"
    assert "4711" not in str(found)


def test_errors_of_fedcore_are_told_in_their_own_words():
    found = examine([raising(PlanError(["one", "two"])), raising(TrustError("three"))])
    assert [each.what for each in found if each.state is State.PROBLEM] == ["one", "two", "three"]


def test_an_interruption_is_no_finding():
    with pytest.raises(KeyboardInterrupt):
        examine([raising(KeyboardInterrupt())])


def test_each_check_is_told_before_it_runs():
    told = []
    examine([raising(ValueError())], progress=told.append)
    assert told == ["second"]


# what every home has


def test_keys_must_be_there_whole_and_private(tmp_path):
    tmp_path.chmod(0o700)
    good, open_to_all, damaged = tmp_path / "good.key", tmp_path / "open.key", tmp_path / "damaged.key"
    for path in (good, open_to_all, damaged):
        path.touch(0o600)
    open_to_all.chmod(0o640)

    def refuse():
        raise TrustError("damaged.key: expected a key, found none")

    found = list(private_files(tmp_path, [(good, list), (tmp_path / "absent.key", list), (open_to_all, list)]))
    assert [each.state for each in found] == [State.PROBLEM] * 2
    assert "absent.key is not there" in found[0].what
    assert "expected mode 0600, found 0640" in found[1].what
    assert f"chmod 600 {open_to_all}" in found[1].advice
    assert one(private_files(tmp_path, [(damaged, refuse)])).what == "damaged.key: expected a key, found none"
    assert one(private_files(tmp_path, [(good, list)])).state is State.OK
    tmp_path.chmod(0o755)
    found = list(private_files(tmp_path, [(good, list)]))
    assert (found[0].state, found[0].advice) == (State.WARNING, f"chmod 700 {tmp_path}")


@pytest.mark.parametrize(
    ("days", "state", "told"),
    [
        (-1, State.PROBLEM, "valid only from"),
        (1, State.OK, "valid until 2031-11-21"),
        (5 * 365 - 15, State.OK, "valid until"),
        (5 * 365 - 13, State.WARNING, "in 13 days"),
        (5 * 365 + 1, State.PROBLEM, "expired on 2031-11-21"),
    ],
)
def test_a_certificate_is_told_two_weeks_before_it_expires(tmp_path, days, state, told):
    path = tmp_path / "ca.crt"
    path.write_bytes(certificate_pem(Authority.create("heart", NOW).certificate))
    found = one(certificate("authority", path, now=NOW + timedelta(days=days), advice="renew"))
    assert (found.name, found.state) == ("authority", state)
    assert told in found.what


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_certificate_that_cannot_be_read_is_told(tmp_path, content):
    path = tmp_path / "ca.crt"
    if content is not None:
        path.write_text(content)
    found = one(
        examine([Check(name="certificate", run=lambda: certificate("certificate", path, now=NOW, advice="renew"))])
    )
    assert found.state is State.PROBLEM
    assert str(path) in found.what


def test_a_lock_is_looked_at_without_making_it(tmp_path):
    assert not is_locked(tmp_path / "lock")
    assert not (tmp_path / "lock").exists()
    with (tmp_path / "lock").open("a") as file:
        assert not is_locked(tmp_path / "lock")
        fcntl.flock(file, fcntl.LOCK_EX)
        assert is_locked(tmp_path / "lock")


def test_a_chain_of_events_is_whole_broken_or_not_begun(tmp_path):
    path = tmp_path / "events.jsonl"
    assert one(chain(path)).state is State.SKIPPED
    log = EventLog(path)
    for _ in range(3):
        log.append("started")
    assert one(chain(path)).what == f"{path}: 3 events, an unbroken chain"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))
    found = one(chain(path))
    assert found.state is State.PROBLEM
    assert found.advice == f"fedcore events verify {path}"
    path.write_bytes(b"no json\n")
    assert states(examine([Check(name="events", run=lambda: chain(path))])) == {"events": State.PROBLEM}
