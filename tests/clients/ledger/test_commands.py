"""``fedcore ledger``, as an owner uses it."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from fedcore.cli import build_app
from fedcore.errors import FedcoreError, PlanError, PrivacyError, StorageError, TrustError
from fedcore.messages import LedgerReceipt
from fedcore_clients.ledger.account import Ledger
from fedcore_clients.ledger.entry import FIRST
from fedcore_clients.ledger.rollback_marks import beside
from tests.clients.ledger.builders import build_asked, train, without_rules
from tests.clients.policy.builders import Clock
from tests.clients.site import Site


@pytest.fixture
def home(tmp_path):
    return Site(tmp_path).home


def run(command, home, *arguments):
    found = CliRunner().invoke(build_app(), ["ledger", command, "--home", str(home.path), *map(str, arguments)])
    if isinstance(found.exception, FedcoreError):
        raise found.exception
    return found


def printed(command, home, *arguments):
    found = run(command, home, *arguments)
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


UNIT = ("--epsilon", 8, "--mode", "unit", "--sampling-rate", 0.1, "--noise-multiplier", 1)


@pytest.fixture
def ledger(home):
    run("init", home, "wards", *UNIT)
    return Ledger(home.ledger, Clock())


def test_a_budget_is_made_and_shown(home, ledger):
    shown = printed("show", home, "--json")["wards"]
    assert (shown["mode"], shown["budget"], shown["spent"], shown["made_by"]) == ("unit", 8.0, 0.0, "owner")
    assert shown["left"] == shown["cap"] > 100
    train(ledger, build_asked(1))
    shown = printed("show", home, "--json")["wards"]
    assert (shown["spent"], shown["reserved"], shown["left"]) == (1.0, 3.0, shown["cap"] - 4.0)
    assert shown["epsilon_is"] == "valid if no parameter of a run was chosen from private outputs"
    assert "valid if no parameter of a run was chosen" in run("show", home).stdout


def test_a_budget_is_not_made_twice_and_superseded_on_purpose_only(home, ledger):
    with pytest.raises(PrivacyError, match="--supersede"):
        run("init", home, "wards", "--epsilon", 9)
    train(ledger, build_asked(1))
    shown = printed("init", home, "wards", "--epsilon", 4, "--supersede", "--json")["wards"]
    assert (shown["mode"], shown["budget"], shown["spent"]) == ("unit", 4.0, 1.0)


def test_below_epsilon_2_mode_rdp_is_warned_of(home):
    assert "mode unit allows all of it" in run("init", home, "wards", "--epsilon", 1).stderr
    assert run("init", home, "digits", "--epsilon", 8).stderr == ""


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        (("--epsilon", 8, "--mode", "pld"), PlanError, "--mode: expected one of unit, gdp, rdp, grants"),
        (
            ("--epsilon", 8, "--relation", "swap"),
            PlanError,
            "--relation: expected one of zero-out, add-remove",
        ),
        (("--epsilon", 8, "--mode", "unit"), PrivacyError, "give the largest sampling rate"),
        (("--epsilon", -1), PrivacyError, "0 < ε"),
    ],
)
def test_what_makes_no_budget_is_told(home, arguments, error, told):
    with pytest.raises(error, match=told):
        run("init", home, "wards", *arguments)
    assert not home.ledger.exists() or Ledger(home.ledger, Clock()).budgets() == {}


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("wards", ("--epsilon", -1), "0 < ε"),
        ("wards", ("--epsilon", 0), "0 < ε"),
        ("wards", ("--epsilon", "nan"), "0 < ε"),
        ("wards", ("--epsilon", "inf"), "0 < ε"),
        ("wards", ("--epsilon", 8, "--delta", 2), "0 < δ < 1"),
        ("wards", ("--epsilon", 8, "--delta", 0), "0 < δ < 1"),
        ("wards", ("--epsilon", 8, "--data", "/nonexist"), "--data: /nonexist does not exist"),
        ("", ("--epsilon", 8), "DATA_SET: expected letters"),
        ("a b", ("--epsilon", 8), "DATA_SET: expected letters"),
    ],
)
def test_before_all_is_known_to_be_right_init_writes_nothing(home, name, arguments, told):
    before = sorted(home.path.iterdir())
    with pytest.raises(FedcoreError, match=told):
        run("init", home, name, *arguments)
    assert sorted(home.path.iterdir()) == before


def test_a_budget_that_was_begun_is_superseded_by_what_its_mode_counts(home, ledger):
    """ε = 0.5 would buy nothing in the default mode, and something in the budget's own."""
    train(ledger, build_asked(1))
    assert printed("init", home, "wards", "--epsilon", 0.5, "--supersede", "--json")["wards"]["mode"] == "unit"


def test_a_mark_is_kept_beside_the_data_that_init_is_told_of(home, tmp_path):
    rows = tmp_path / "rows"
    rows.touch()
    run("init", home, "wards", *UNIT, "--data", rows)
    run("spend", home, "wards", "--noise-multiplier", 2, "--sampling-rate", 0.1, "--note", "told later")
    assert json.loads(beside(rows).read_text())["head"] == Ledger(home.ledger, Clock()).entries()[-1].hash


def test_uses_by_hand_are_charged(home, ledger):
    spend = ("wards", "--note", "a histogram of ages")
    assert (
        "charged 3 of steps of the reference mechanism"
        in run("spend", home, *spend, "--noise-multiplier", 1, "--sampling-rate", 0.1, "--steps", 3).stdout
    )
    with pytest.raises(PrivacyError, match="give the noise multiplier"):
        run("spend", home, *spend, "--epsilon", 0.5)
    assert "no bound any more" in run("spend", home, *spend, "--unbounded").stdout
    assert printed("show", home, "--json")["wards"]["epsilon"] is None
    assert "wards: something was released without a bound" in run("show", home).stdout


def test_epsilon_and_delta_are_charged_where_grants_are_added_up(home):
    run("init", home, "wards", "--epsilon", 8, "--mode", "grants", "--grants", 4)
    run("spend", home, "wards", "--note", "x", "--epsilon", 7.9, "--delta", 1e-6)
    more = run("spend", home, "wards", "--note", "x", "--epsilon", 0.2).stdout
    assert "more than was left: nothing more can be trained" in more


def test_a_use_that_takes_every_share_of_delta_leaves_nothing(home):
    run("init", home, "wards", "--epsilon", 8, "--mode", "grants", "--grants", 4)
    told = run("spend", home, "wards", "--note", "x", "--epsilon", 1, "--delta", 1e-3).stdout
    assert "left 0\n" in told
    assert "more than was left: nothing more can be trained" in told
    assert (shown := printed("show", home, "--json")["wards"])["left"] == 0.0
    assert shown["left_share"] == 0.0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "expected one of"),
        (("--epsilon", 1, "--unbounded"), "expected one of"),
        (("--noise-multiplier", 0), "--noise-multiplier: expected more than 0 and less than 1e9, found 0"),
        (("--noise-multiplier", "nan"), "--noise-multiplier: expected more than 0 and less than 1e9, found nan"),
        (("--noise-multiplier", 1, "--sampling-rate", 1.5), "--sampling-rate: expected more than 0 and at most 1"),
        (("--epsilon", "nan"), "found nan and 0"),
        (("--epsilon", 1, "--delta", 1), "found 1 and 1"),
    ],
)
def test_uses_that_make_no_sense_are_refused(home, ledger, arguments, told):
    with pytest.raises(PlanError, match=told):
        run("spend", home, "wards", "--note", "x", *arguments)
    assert ledger.uses() == []


def test_an_export_holds_every_entry_and_the_newest_hash(home, ledger, tmp_path):
    train(ledger, build_asked(1))
    found = json.loads(run("export", home).stdout)
    entries = ledger.entries()
    assert [entry["hash"] for entry in found["entries"]] == [entry.hash for entry in entries]
    assert found["head"] == entries[-1].hash
    assert found["entries"][0]["previous"] == FIRST
    out = tmp_path / "out.json"
    run("export", home, "--out", out)
    assert json.loads(out.read_text()) == found
    with pytest.raises(StorageError, match="is not changed"):
        run("export", home, "--out", out)


def test_what_a_run_holds_is_listed_and_given_back_by_name(home, ledger):
    assert "no run has reserved anything" in run("recover", home).stdout
    train(ledger, build_asked(1, run="digits-0001@abc"))
    assert "digits-0001@abc: 3 rounds on wards, held" in run("recover", home).stdout
    with pytest.raises(PlanError, match="has reserved nothing"):
        run("recover", home, "--run", "digits-0002")
    assert printed("recover", home, "--run", "digits-0001", "--json")[0]["given_back"] is True
    assert "no run has reserved anything" in run("recover", home).stdout
    shown = printed("show", home, "--json")["wards"]
    assert (shown["spent"], shown["reserved"]) == (1.0, 0.0)


def test_a_receipt_is_found_in_its_own_ledger_alone(home, ledger):
    train(ledger, build_asked(1))
    with ledger.file.reading() as book:
        charge = [entry for entry in book.entries() if entry.kind == "charge"][-1]
        receipt = LedgerReceipt.of(book.id, charge.number, charge.hash)
    told = f"{receipt.entry}:{receipt.digest}"
    assert run("verify", home, "--receipt", told).exit_code == 0
    for wrong in (f"{receipt.entry - 1}:{receipt.digest}", f"999:{receipt.digest}", f"{receipt.entry}:{'0' * 64}"):
        found = run("verify", home, "--receipt", wrong)
        assert found.exit_code == 1
        assert "it is not the receipt's" in found.stdout
    for malformed in (receipt.digest, "1:xyz", f"0:{receipt.digest}", ""):
        assert run("verify", home, "--receipt", malformed).exit_code == 2


def test_a_ledger_is_verified(home, ledger):
    assert "the ledger is unchanged; head" in run("verify", home).stdout
    assert printed("verify", home, "--json")["problems"] == []
    import sqlite3

    connection = sqlite3.connect(home.ledger)
    connection.execute("DROP TRIGGER within_reservation")
    connection.commit()
    connection.close()
    found = run("verify", home)
    assert found.exit_code == 1
    assert "within_reservation: absent or changed" in found.stdout


def test_a_damaged_ledger_is_told_by_entry_and_data_set_and_no_figures_are_shown(home, ledger):
    train(ledger, build_asked(1))
    without_rules(ledger, "UPDATE entry SET units = 0 WHERE kind = 'charge'")
    for arguments in (("show",), ("show", "--json"), ("verify",)):
        found = run(arguments[0], home, *arguments[1:])
        assert found.exit_code == 1
        told = found.stdout if arguments[0] == "verify" else found.stderr
        assert "is damaged or was changed (1 problem)" in told
        assert "entry 3 (charge, data set 'wards', run 'run@coordinator'): its content does not match its hash" in told
        assert "restore the newest ledger" in told
        assert "When the account is lost" in told
        if arguments[0] == "show":
            assert found.stdout == ""


def test_an_entry_of_an_unknown_kind_is_named(home, ledger):
    train(ledger, build_asked(1))
    without_rules(ledger, "UPDATE entry SET kind = 'gift' WHERE kind = 'charge'")
    with pytest.raises(StorageError, match="entry 3 is of the unknown kind 'gift'"):
        run("verify", home)


@pytest.mark.parametrize("note", ["", "  "])
def test_a_use_without_a_word_about_it_is_refused(home, ledger, note):
    with pytest.raises(PlanError, match="--note: describe the use"):
        run("spend", home, "wards", "--noise-multiplier", 2, "--note", note)
    assert ledger.uses() == []


@pytest.mark.parametrize("command", ["show", "export", "recover", "verify"])
def test_where_there_is_no_ledger_or_no_home_that_is_told(home, tmp_path, command):
    with pytest.raises(StorageError, match="there is no ledger"):
        run(command, home)
    home.spends.touch()
    with pytest.raises(StorageError, match="the account of an earlier version"):
        run(command, home)
    home.settings_file.unlink()
    with pytest.raises(TrustError, match="not the home of a client"):
        run(command, home)
