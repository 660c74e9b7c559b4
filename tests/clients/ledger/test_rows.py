"""Rows that are others than those that were charged for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fedcore.storage.events import read_events
from fedcore_clients.agent.worker import data_name
from fedcore_clients.ledger import rows
from fedcore_clients.ledger.display import print_budgets
from fedcore_clients.ledger.rollback_marks import beside
from fedcore_clients.ledger.rows import Fingerprints, change_in_words
from fedcore_clients.ledger.verification import problems_of
from tests.clients.ledger.builders import WARDS, build_asked, build_ledger, train
from tests.clients.policy.builders import build_open_policy
from tests.clients.site import Site

SECRET = 4711


def _one(path: Path, secret: int = SECRET) -> str | None:
    return Fingerprints({WARDS: path}, secret).get(WARDS)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text("age,stroke\n61,1\n")
    return path


def test_a_fingerprint_depends_on_content_and_secret_and_not_on_dates(table: Path) -> None:
    first = _one(table)
    os.utime(table, (0, 0))
    assert _one(table) == first
    assert _one(table, SECRET + 1) != first
    table.write_text("age,stroke\n61,0\n")
    assert _one(table) != first


def test_a_directory_is_all_its_files_and_their_names_without_our_marks(tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    (scans / "2026").mkdir(parents=True)
    (scans / "2026" / "a.bin").write_bytes(b"a")
    seen = [_one(scans)]
    beside(scans / "2026" / "a.bin").write_text("a mark of ours")
    assert _one(scans) == seen[0]
    (scans / "2026" / "b.bin").write_bytes(b"")
    seen.append(_one(scans))
    (scans / "2026" / "b.bin").rename(scans / "b.bin")
    seen.append(_one(scans))
    assert len(set(seen)) == 3


def test_of_a_large_data_set_sizes_and_dates_are_compared(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_MOST_BYTES", 5)
    os.utime(table, (1, 1))
    first = _one(table)
    table.write_text("age,stroke\n61,0\n")
    os.utime(table, (1, 1))
    assert _one(table) == first
    os.utime(table, (2, 2))
    assert _one(table) != first


def test_rows_that_cannot_be_read_are_no_reason_to_end(tmp_path: Path) -> None:
    assert Fingerprints({WARDS: tmp_path / "absent"}, SECRET) == {}


def test_a_change_is_noted_once_in_the_next_charge_and_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = build_ledger(tmp_path)
    for number, found in enumerate(["", "aa", "aa", "bb"], start=1):
        train(ledger, build_asked(number, rows=found))
    charges = ledger.uses(WARDS)
    assert [entry.note for entry in charges] == [
        "",
        '{"rows": "aa"}',
        '{"rows": "aa"}',
        '{"rows": "bb", "rows_before": "aa"}',
    ]
    train(ledger, build_asked(1, rows="bb", run="other@coordinator", rounds=1))
    assert ledger.uses(WARDS)[-1].note == '{"rows": "bb"}'
    assert problems_of(ledger.file) == []
    ledger.spend(WARDS, None, "rows of the talk")  # a note by hand
    print_budgets(ledger, as_json=False)
    assert f"{WARDS}: other rows since entry {charges[-1].number}, " in capsys.readouterr().out


def test_changed_rows_are_told_at_the_start_and_block_nothing(tmp_path: Path) -> None:
    site = Site(tmp_path, build_open_policy())
    path = site.data()[data_name(site.plan)]
    path.write_text("61,1")
    first = site.guard()
    assert list(first.changed_rows()) == []
    asked = site.request()
    first.charge(first.receive(asked))
    assert list(site.guard().changed_rows()) == []

    path.write_text("61,0")
    second = site.guard()
    (line,) = second.changed_rows()
    assert f"the rows of data set {path.name!r} have changed since its last charge, entry " in line
    second.charge(second.receive(site.request(round=2)))
    assert "rows_before" in site.charges()[-1].note
    assert list(site.guard().changed_rows()) == []


def test_rows_that_are_exchanged_while_a_client_runs_are_noted_with_their_first_charge(tmp_path: Path) -> None:
    site = Site(tmp_path, build_open_policy())
    path = site.data()[data_name(site.plan)]
    path.write_text("61")  # cannot be read, and is mended
    guard = site.guard()
    path.write_text("61,1")
    guard.charge(guard.receive(site.request()))
    assert list(site.guard().changed_rows()) == []
    path.write_text("61,0,0")
    guard.charge(guard.receive(site.request(round=2)))
    assert "rows_before" in site.charges()[-1].note


def test_the_fingerprint_is_in_the_ledger_and_in_no_event_or_message(tmp_path: Path) -> None:
    site = Site(tmp_path, build_open_policy())
    path = site.data()[data_name(site.plan)]
    path.write_text("61,1")
    guard = site.guard()
    guard.charge(guard.receive(site.request()))
    path.write_text("61,0")
    list(site.guard().changed_rows())
    found = [Fingerprints({path.name: path}, site.home.secret())[path.name], site.charges()[-1].note.split('"')[3]]
    assert len(set(found)) == 2
    events = site.home.events.read_text()
    assert [event["data_set"] for event in read_events(site.home.events) if event["event"] == "rows-changed"] == [
        path.name
    ]
    assert not any(each in events for each in found)
    assert not any(each in change_in_words(path.name, site.charges()[-1]) for each in found)
