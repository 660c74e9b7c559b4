"""A ledger whose process is killed, or whose file is damaged, gone, older, or another one than before."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from fedcore.errors import RefusedError, StorageError
from fedcore_clients.ledger import store
from fedcore_clients.ledger.account import Ledger
from fedcore_clients.ledger.entry import Kind
from fedcore_clients.ledger.rollback_marks import beside
from fedcore_clients.ledger.terms import NANO
from fedcore_clients.ledger.verification import check, problems_of
from tests.clients.ledger.builders import WARDS, build_asked, build_ledger, train, without_rules
from tests.clients.policy.builders import Clock


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "data" / "rows"
    path.parent.mkdir()
    path.write_bytes(b"rows")
    return path


@pytest.fixture
def ledger(tmp_path, data):
    ledger = build_ledger(tmp_path, data=data)
    train(ledger, build_asked(1))
    return ledger


def reopened(ledger, data=None):
    return Ledger(ledger.file.path, Clock(), data={} if data is None else {WARDS: data})


_KILLED = """
import os, signal, sys, threading
from pathlib import Path
from fedcore_clients.ledger import account, asked, balance, claims, entry, rollback_marks, store
from tests.clients.ledger.builders import build_asked, build_ledger

root, opened = Path(sys.argv[1]), Path(sys.argv[1]) / "opened"
WATCHED = {module.__file__ for module in (account, asked, balance, claims, entry, rollback_marks, store)}

def life(directory, last):
    steps = 0
    def trace(frame, event, argument):
        nonlocal steps
        if frame.f_code.co_filename not in WATCHED:
            return None
        if event == "line":
            steps += 1
            if steps == last:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace
    ledger = build_ledger(directory, data=directory / "rows")
    sys.settrace(trace)
    ledger.reserve(build_asked())
    ledger.charge(build_asked())
    (directory / "opened").touch()
    ledger.seal(build_asked(), "f" * 64)
    (directory / "sealed").touch()
    sys.settrace(None)

number, stride = 1 - int(sys.argv[2]), int(sys.argv[2])
while True:
    number += stride
    directory = root / str(number)
    directory.mkdir()
    (directory / "rows").touch()
    child = os.fork()
    if not child:
        life(directory, number)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        break
print(number)
"""


@pytest.mark.parametrize("stride", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_any_line_between_reserve_and_seal_a_client_has_never_counted_too_little(tmp_path, stride):
    """Data is opened after `charge` has returned, and a reply leaves after `seal` has: a file stands for each."""
    life = [sys.executable, "-c", _KILLED, str(tmp_path), str(stride)]
    found = subprocess.run(life, check=False, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stderr
    lives = int(found.stdout)
    assert lives > 100
    states = set()
    for number in range(1, lives + 1, stride):
        home = tmp_path / str(number)
        ledger = Ledger(home / "home" / "ledger.db", Clock(), data={WARDS: home / "rows"})
        assert problems_of(ledger.file) == []
        charged = sum(use.kind is Kind.CHARGE for use in ledger.uses())
        opened, sealed = (home / "opened").exists(), (home / "sealed").exists()
        assert charged == ledger.balance(WARDS).spent.units // NANO
        assert charged >= opened
        assert (ledger.sealed(build_asked()) is not None) >= sealed
        states.add((ledger.balance(WARDS).reserved.units // NANO, charged, opened, sealed))
        if charged:
            with pytest.raises(RefusedError, match="charged before"):
                ledger.charge(build_asked())
        else:
            train(ledger, build_asked())
        ledger.close(WARDS, build_asked().run)
        assert ledger.balance(WARDS).spent.units == NANO
        assert ledger.balance(WARDS).reserved.units == 0
    assert {(0, 0, False, False), (4, 0, False, False), (3, 1, False, False), (3, 1, True, True)} <= states


def test_a_ledger_that_is_gone_is_not_begun_anew(ledger, data):
    ledger.file.path.unlink()
    for again in (reopened(ledger, data), reopened(ledger)):
        with pytest.raises(StorageError, match="what was spent is unknown; nothing is trained"):
            again.file.create()
        with pytest.raises(StorageError, match="what was spent is unknown"):
            train(again, build_asked(2))
    assert not ledger.file.path.exists()


def test_a_home_that_is_gone_is_noticed_by_the_data(ledger, data, tmp_path):
    shutil.rmtree(ledger.file.path.parent)
    (tmp_path / "home").mkdir()
    with pytest.raises(StorageError, match=r"rows\.fedcore-ledger says that ledger"):
        reopened(ledger, data).file.create()


def test_a_ledger_from_a_backup_is_noticed(ledger, data, tmp_path):
    shutil.copyfile(ledger.file.path, tmp_path / "backup")
    train(ledger, build_asked(2))
    for leftover in tmp_path.glob("home/ledger.db*"):
        leftover.unlink()
    shutil.copyfile(tmp_path / "backup", ledger.file.path)
    for again in (reopened(ledger), reopened(ledger, data)):
        with pytest.raises(StorageError, match="it was restored from a backup"):
            train(again, build_asked(3))


def test_a_whole_home_from_a_backup_is_noticed_by_the_data(ledger, data, tmp_path):
    shutil.copytree(tmp_path / "home", tmp_path / "backup")
    train(ledger, build_asked(2))
    shutil.rmtree(tmp_path / "home")
    shutil.copytree(tmp_path / "backup", tmp_path / "home")
    with pytest.raises(StorageError, match="it was restored from a backup"):
        train(reopened(ledger, data), build_asked(3))


def test_the_newest_backup_is_as_good_as_the_ledger(ledger, data, tmp_path):
    shutil.copytree(tmp_path / "home", tmp_path / "backup")
    shutil.rmtree(tmp_path / "home")
    shutil.copytree(tmp_path / "backup", tmp_path / "home")
    train(reopened(ledger, data), build_asked(2))


def test_a_second_home_on_the_same_data_is_noticed(ledger, data, tmp_path):
    (tmp_path / "second").mkdir()
    with pytest.raises(StorageError, match="accounted for data set 'wards'"):
        build_ledger(tmp_path / "second", data=data)
    other = build_ledger(tmp_path / "second")
    with pytest.raises(StorageError, match="one data set has one account"):
        train(reopened(other, data), build_asked())


def test_the_same_data_under_another_name_is_noticed(ledger, data):
    with pytest.raises(StorageError, match="one data set has one name and one budget"):
        Ledger(ledger.file.path, Clock(), data={"digits": data}).budgets()


def test_a_home_that_moved_to_another_host_takes_its_account_along(ledger, data, tmp_path):
    moved, rows = tmp_path / "moved", tmp_path / "elsewhere" / "rows"
    shutil.copytree(tmp_path / "home", moved)
    shutil.move(data.parent, rows.parent)
    ledger = Ledger(moved / "ledger.db", Clock(), data={WARDS: rows})
    train(ledger, build_asked(2))
    assert json.loads(beside(rows).read_text())["head"] == ledger.entries()[-1].hash


def test_data_that_cannot_be_written_beside_is_used_without_a_mark_and_said_to_be(tmp_path, data, monkeypatch):
    monkeypatch.setattr("fedcore_clients.ledger.rollback_marks.os.access", lambda *_: False)
    ledger = build_ledger(tmp_path, data=data)
    train(ledger, build_asked())
    assert not beside(data).exists()
    assert list(ledger.file.marks.unmarked()) == [WARDS]


@pytest.mark.parametrize("which", ["home", "data"])
@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"ledger": 1, "head": "x"}', b"9" * 5000])
def test_a_damaged_mark_stops_all_training(ledger, data, which, content):
    place = beside(data) if which == "data" else ledger.file.path.with_suffix(".mark")
    place.write_bytes(content)
    with pytest.raises(StorageError, match="records the ledger's last entry"):
        train(reopened(ledger, data), build_asked(2))


def damaged(path: Path, how: str) -> None:
    for leftover in path.parent.glob("ledger.db-*"):
        leftover.unlink()
    content = path.read_bytes()
    if how == "no database":
        path.write_bytes(b"spent: nothing\n" * 400)
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.write_bytes(content[:100] + bytes(8192) + content[8292:])


@pytest.mark.parametrize("how", ["no database", "empty", "cut", "overwritten"])
def test_a_damaged_file_is_told_and_nothing_is_trained(ledger, data, how):
    damaged(ledger.file.path, how)
    again = reopened(ledger, data)
    with pytest.raises(StorageError, match=r"damaged|not there|is no ledger"):
        check(again.file)
    with pytest.raises(StorageError):
        train(again, build_asked(2))


def test_another_database_is_no_ledger(ledger):
    ledger.file.path.unlink()
    connection = sqlite3.connect(ledger.file.path)
    connection.execute("CREATE TABLE patients (name TEXT)")
    connection.commit()
    connection.close()
    with pytest.raises(StorageError, match="is not a ledger of fedcore"):
        train(reopened(ledger), build_asked(2))


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE entry SET units = 0 WHERE kind = 'charge'", "does not match its hash"),
        ("DELETE FROM entry WHERE kind = 'reserve'", "expected number 2"),
        ("UPDATE entry SET units = 9000000000 WHERE kind = 'reserve'", "more is reserved than the budget"),
        ("UPDATE entry SET rounds = 9 WHERE kind = 'charge'", "uses more than was reserved"),
        ("UPDATE entry SET mechanism = '{\"mechanism\": \"laplace\"}' WHERE kind = 'charge'", "unknown here"),
    ],
)
def test_what_was_changed_behind_the_rules_is_found(ledger, statement, told):
    assert problems_of(ledger.file) == []
    without_rules(ledger, statement)
    assert any(told in problem for problem in problems_of(ledger.file))
    with pytest.raises(StorageError, match="trained before it is restored"):
        check(ledger.file)


def test_a_rule_that_was_taken_away_is_found(ledger):
    connection = sqlite3.connect(ledger.file.path)
    connection.execute("DROP TRIGGER within_budget")
    connection.commit()
    connection.close()
    assert problems_of(ledger.file) == ["CREATE TRIGGER within_budget: absent or changed"]


def test_an_unknown_mechanism_or_kind_is_never_taken_for_nothing(ledger):
    without_rules(ledger, "UPDATE entry SET kind = 'gift' WHERE kind = 'charge'")
    with pytest.raises(StorageError, match="holds content unknown to this version"):
        ledger.entries()


def test_a_file_of_a_newer_version_is_left_alone(ledger):
    connection = sqlite3.connect(ledger.file.path)
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    before = ledger.file.path.read_bytes()
    with pytest.raises(StorageError, match="written by a newer version of fedcore"):
        train(ledger, build_asked(2))
    assert ledger.file.path.read_bytes() == before


def test_a_read_only_file_can_be_looked_at_and_not_be_charged(ledger, monkeypatch):
    real = sqlite3.connect
    monkeypatch.setattr(store.sqlite3, "connect", lambda name, **how: real(name.replace("mode=rw", "mode=ro"), **how))
    assert len(ledger.uses()) == 1
    with pytest.raises(StorageError, match="can be read and not be written; nothing is trained"):
        train(ledger, build_asked(2))


def test_a_file_that_another_process_does_not_let_go_of_is_told(ledger, monkeypatch):
    monkeypatch.setattr(store, "_WAIT_SECONDS", 0.1)
    other = sqlite3.connect(ledger.file.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert len(ledger.uses()) == 1
    with pytest.raises(StorageError, match="held by another process"):
        train(ledger, build_asked(2))
    other.close()
    train(ledger, build_asked(2))


def test_a_mark_that_cannot_be_written_lets_no_data_be_opened_and_the_charge_stays(ledger, monkeypatch):
    def full(path, content):
        raise StorageError("the disk is full")

    ledger.reserve(build_asked(2))
    with monkeypatch.context() as context:
        context.setattr("fedcore_clients.ledger.rollback_marks.write_whole", full)
        with pytest.raises(StorageError, match="disk is full"):
            ledger.charge(build_asked(2))
    assert [use.round for use in reopened(ledger).uses()] == [1, 2]
