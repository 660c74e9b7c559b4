"""The account: never over its cap, never short, and asked twice the same as once."""

from __future__ import annotations

import itertools
import json
import math
import sqlite3
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedcore.errors import PrivacyError, RefusedError, StorageError
from fedcore.privacy.accounting import epsilon_of
from fedcore.privacy.plan import PrivacyEvent
from fedcore_clients.ledger.entry import Kind
from fedcore_clients.ledger.mechanism import Grant, epsilon_together
from fedcore_clients.ledger.terms import NANO, Mode, agree
from fedcore_clients.ledger.verification import problems_of
from tests.clients.ledger.builders import EVENT, RUN, UNITS, WARDS, build_asked, build_ledger, train
from tests.clients.policy.builders import Clock


@pytest.fixture
def ledger(tmp_path):
    return build_ledger(tmp_path)


def stands(ledger):
    """Steps spent, reserved and left."""
    balance = ledger.balance(WARDS)
    return balance.spent.units / NANO, balance.reserved.units / NANO, balance.left / NANO


def refused(ledger, asked, code="BUDGET", step=train) -> str:
    before = ledger.entries()
    with pytest.raises(RefusedError) as caught:
        step(ledger, asked)
    assert caught.value.code == code
    assert ledger.entries() == before
    return str(caught.value)


def test_a_run_is_reserved_whole_and_charged_round_by_round(ledger):
    ledger.reserve(build_asked(1))
    assert stands(ledger) == (0, 4, 4)
    for number in (1, 2, 3, 4):
        train(ledger, build_asked(number))
        assert stands(ledger) == (number, 4 - number, 4)
    assert problems_of(ledger.file) == []


def test_a_run_over_budget_is_refused_before_anything_is_charged_and_by_how_much_is_said(ledger):
    told = refused(ledger, build_asked(rounds=9))
    assert "the budget is ε = 8 at δ = 1e-05; 0 % of it is spent" in told
    assert "the 9 rounds of this run would take 112.5 %, too much by 12.5 % (1 of steps" in told


def test_what_was_not_reserved_is_not_charged(ledger):
    refused(ledger, build_asked(), step=lambda ledger, asked: ledger.charge(asked))


def test_a_request_is_charged_once_however_often_it_comes(ledger):
    train(ledger, build_asked())
    for _ in range(3):
        refused(ledger, build_asked(), code="STALE")
    assert stands(ledger) == (1, 3, 4)


def test_a_round_tried_again_or_after_a_restart_of_the_server_is_a_charge_of_its_own(ledger):
    train(ledger, build_asked())
    train(ledger, build_asked(attempt=1))
    train(ledger, build_asked(incarnation=2))
    assert stands(ledger) == (3, 3, 2)
    for number in (2, 3, 4):
        train(ledger, build_asked(number, incarnation=2))
    train(ledger, build_asked(4, attempt=1, incarnation=2))
    train(ledger, build_asked(4, attempt=2, incarnation=2))
    assert stands(ledger) == (8, 0, 0)
    assert "this round would take 12.5 %" in refused(ledger, build_asked(4, attempt=3, incarnation=2))


def test_a_client_that_joins_late_reserves_what_is_left_of_the_run(ledger):
    train(ledger, build_asked(3))
    assert stands(ledger) == (1, 1, 6)


def test_a_server_that_asks_for_more_rounds_than_it_said_is_refused(ledger):
    train(ledger, build_asked(3))
    train(ledger, build_asked(4))
    assert "its plan has 4" in refused(ledger, build_asked(2, incarnation=2))


@pytest.mark.parametrize("change", [{"plan": "another promise"}, {"data_set": "digits"}])
def test_a_run_keeps_its_promise_and_its_data_set(ledger, change):
    ledger.set_budget("digits", UNITS, maker="owner")
    train(ledger, build_asked(1))
    assert "with another promise of privacy, or another data set" in refused(ledger, build_asked(2, **change))


@pytest.mark.parametrize(
    "event",
    [
        replace(EVENT, noise_multiplier=0.99),
        replace(EVENT, sampling_rate=0.2),
        replace(EVENT, noise_multiplier=0.0),
        replace(EVENT, noise_multiplier=-1.0),
        replace(EVENT, noise_multiplier=math.nan),
        replace(EVENT, sampling_rate=math.nan),
        replace(EVENT, sampling_rate=2.0),
        replace(EVENT, steps=0),
        replace(EVENT, steps=-5),
    ],
)
def test_noise_below_the_reference_and_numbers_that_are_none_are_refused(ledger, event):
    refused(ledger, build_asked(event=event))


def test_what_a_run_did_not_use_comes_back_when_it_is_closed_and_what_it_used_does_not(ledger):
    train(ledger, build_asked(1))
    assert ledger.close(WARDS, RUN).units == 3 * NANO
    assert ledger.close(WARDS, RUN).units == 0
    assert stands(ledger) == (1, 0, 7)
    train(ledger, build_asked(2))  # it goes on after all, and has to fit anew
    assert stands(ledger) == (2, 2, 4)


def test_data_sets_have_budgets_of_their_own(ledger):
    ledger.set_budget("digits", UNITS, maker="owner")
    train(ledger, build_asked(rounds=8))
    refused(ledger, build_asked(run="another"))
    train(ledger, build_asked(run="third", data_set="digits"))


def test_a_data_set_without_a_budget_is_refused(ledger):
    with pytest.raises(PrivacyError, match="has no budget in the ledger"):
        train(ledger, build_asked(data_set="unknown"))


def test_training_without_privacy_is_on_record_as_infinite(ledger):
    train(ledger, build_asked(event=None))
    refused(ledger, build_asked(event=None), code="STALE")
    (use,) = ledger.uses(WARDS)
    assert use.kind is Kind.UNBOUNDED
    assert epsilon_together([use.parsed_mechanism()], 1e-5) == math.inf
    assert stands(ledger) == (0, 0, 8)


def test_a_use_by_hand_counts_also_where_it_is_more_than_was_left(ledger):
    ledger.spend(WARDS, replace(EVENT, steps=6), "a histogram")
    assert stands(ledger) == (6, 0, 2)
    refused(ledger, build_asked())
    ledger.spend(WARDS, replace(EVENT, steps=6), "another")
    assert stands(ledger) == (12, 0, 0)
    refused(ledger, build_asked(rounds=1))
    assert problems_of(ledger.file) == []


def test_a_use_by_hand_of_which_the_mode_knows_no_bound_is_not_taken_for_nothing(ledger):
    for unknown in (Grant(epsilon=0.1, delta=0.0), replace(EVENT, noise_multiplier=0.5)):
        with pytest.raises(PrivacyError):
            ledger.spend(WARDS, unknown, "by another tool")
    ledger.spend(WARDS, None, "by another tool")
    assert [use.kind for use in ledger.uses()] == [Kind.UNBOUNDED]


def test_a_reply_is_sealed_once_and_only_to_what_was_charged(ledger):
    with pytest.raises(StorageError, match="was not charged"):
        ledger.seal(build_asked(), "f" * 64)
    train(ledger, build_asked())
    assert ledger.sealed(build_asked()) is None
    ledger.seal(build_asked(), "f" * 64)
    assert ledger.sealed(build_asked()) == "f" * 64
    assert ledger.sealed(build_asked(attempt=1)) is None
    with pytest.raises(StorageError, match="a second one"):
        ledger.seal(build_asked(), "e" * 64)


def test_a_budget_that_was_used_keeps_its_mode_and_may_get_another_epsilon(ledger):
    train(ledger, build_asked())
    with pytest.raises(PrivacyError, match="only ε and δ can be changed"):
        ledger.set_budget(WARDS, agree(epsilon=8.0, delta=1e-5, mode=Mode.RDP), maker="owner")
    ledger.set_budget(WARDS, UNITS.changed(2.0, 1e-5), maker="owner")
    assert ledger.balance(WARDS).cap.units < 100 * NANO
    assert ledger.balance(WARDS).spent.units == NANO


def test_a_grant_is_used_up_by_its_first_round_for_its_end_may_depend_on_what_it_told(tmp_path):
    ledger = build_ledger(tmp_path, terms=agree(epsilon=8.0, delta=1e-5, mode=Mode.GRANTS, grants=2))
    ledger.reserve(build_asked())
    reserved = ledger.balance(WARDS).reserved
    expected = epsilon_of(replace(EVENT, steps=4), 5e-6)
    assert expected <= reserved.units / NANO <= expected + 2e-9
    ledger.charge(build_asked())
    assert ledger.close(WARDS, RUN).units == 0
    assert ledger.balance(WARDS).spent == reserved
    train(ledger, build_asked(run="second", rounds=1))
    assert "all 2 shares of δ are used" in refused(ledger, build_asked(run="third", rounds=1))


def test_a_grant_that_was_never_used_comes_back_whole(tmp_path):
    ledger = build_ledger(tmp_path, terms=agree(epsilon=8.0, delta=1e-5, mode=Mode.GRANTS, grants=1))
    ledger.reserve(build_asked())
    ledger.close(WARDS, RUN)
    train(ledger, build_asked(run="second"))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_asked_in_whatever_order_the_cap_holds_and_charges_only_grow(tmp_path_factory, data):
    ledger = build_ledger(tmp_path_factory.mktemp("ledger"))
    spent = 0
    for _ in range(data.draw(st.integers(1, 12))):
        asked = build_asked(
            data.draw(st.integers(1, 4)),
            run=data.draw(st.sampled_from(["a", "b", "c"])),
            attempt=data.draw(st.integers(0, 2)),
            rounds=data.draw(st.integers(1, 4)),
            event=replace(EVENT, steps=data.draw(st.integers(1, 3))),
        )
        step = data.draw(st.sampled_from(["reserve", "train", "charge", "close", "spend"]))
        try:
            if step == "close":
                ledger.close(WARDS, asked.run)
            elif step == "spend":
                ledger.spend(WARDS, EVENT, "by hand")
            else:
                {"reserve": ledger.reserve, "charge": ledger.charge, "train": lambda a: train(ledger, a)}[step](asked)
        except RefusedError:
            pass
        balance = ledger.balance(WARDS)
        by_hand = sum(entry.units for entry in ledger.entries() if entry.kind is Kind.SPEND)
        assert balance.spent.units + balance.reserved.units <= max(8 * NANO, 8 * NANO + by_hand)
        assert balance.reserved.units >= 0
        assert balance.spent.units >= spent
        spent = balance.spent.units
    assert problems_of(ledger.file) == []


def test_the_sum_does_not_depend_on_the_order(tmp_path):
    events = [
        PrivacyEvent(sampling_rate=q, noise_multiplier=noise, steps=steps)
        for q, noise, steps in ((0.1, 1.0, 3), (0.013, 0.7, 11), (1.0, 9.3, 1), (0.5, 4.0, 2))
    ]
    found = set()
    for number, order in enumerate(itertools.islice(itertools.permutations(events), 0, 24, 5)):
        (tmp_path / str(number)).mkdir()
        terms = agree(epsilon=20.0, delta=1e-5, mode=Mode.RDP)
        ledger = build_ledger(tmp_path / str(number), terms=terms)
        for index, event in enumerate(order):
            train(ledger, build_asked(run=f"run-{index}", rounds=1, event=event))
        epsilon = epsilon_together([use.parsed_mechanism() for use in ledger.uses()], 1e-5)
        found.add((ledger.balance(WARDS).spent.units, epsilon))
    assert len(found) == 1


def test_what_the_ledger_allows_is_never_above_its_epsilon_by_the_tightest_accountant(tmp_path):
    """The cap of every mode, used up by equal rounds, against the privacy loss distribution."""
    for mode, event in (
        (Mode.UNIT, EVENT),
        (Mode.RDP, EVENT),
        (Mode.GDP, PrivacyEvent(sampling_rate=1.0, noise_multiplier=6.0, steps=1)),
        (Mode.GRANTS, EVENT),
    ):
        terms = agree(epsilon=4.0, delta=1e-5, mode=mode, sampling_rate=0.1, noise_multiplier=1.0, grants=1)
        rounds = terms.cap.units // terms.run_cost(event, 1).units
        while terms.run_cost(event, rounds).units > terms.cap.units:
            rounds -= 1
        while mode is Mode.GRANTS and terms.run_cost(event, rounds + 1).units <= terms.cap.units:
            rounds += 1
        epsilon = epsilon_of(replace(event, steps=rounds), 1e-5)
        assert 0.5 * terms.epsilon < epsilon <= terms.epsilon + 2e-3, mode


_RESERVE = """
import os, sys
from pathlib import Path
from tests.clients.ledger.builders import build_asked, build_ledger
from fedcore.errors import RefusedError

start, waiting = os.pipe()
for index in range(12):
    if os.fork() == 0:
        ledger = build_ledger(Path(sys.argv[1]), terms=None)
        os.close(waiting)
        os.read(start, 1)  # until the last of the twelve has come this far
        try:
            ledger.reserve(build_asked(run=f"run-{index}", rounds=1))
        except RefusedError:
            os._exit(7)
        os._exit(0)
os.close(waiting)
print([os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(12)])
"""


def test_of_twelve_processes_that_reserve_at_once_on_eight_units_eight_pass(ledger, tmp_path):
    found = subprocess.run(
        [sys.executable, "-c", _RESERVE, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert sorted(json.loads(found.stdout)) == [0] * 8 + [7] * 4
    assert stands(ledger) == (0, 8, 0)
    assert problems_of(ledger.file) == []


def test_nothing_depends_on_the_clock(tmp_path):
    clock = Clock()
    ledger = build_ledger(tmp_path, clock=clock)
    train(ledger, build_asked(1))
    clock.move(days=-4000)
    train(ledger, build_asked(2))
    assert [use.round for use in ledger.uses()] == [1, 2]
    assert problems_of(ledger.file) == []


@pytest.mark.parametrize(
    "statement",
    ["UPDATE entry SET units = 0", "DELETE FROM entry", "UPDATE identity SET id = 'x'", "DELETE FROM identity"],
)
def test_the_database_itself_refuses_to_change_what_was_written(ledger, statement):
    train(ledger, build_asked())
    connection = sqlite3.connect(ledger.file.path)
    with pytest.raises(sqlite3.IntegrityError, match="only ever appended"):
        connection.execute(statement)
    connection.close()


def test_an_entry_holds_mechanisms_and_no_epsilon_so_that_a_better_accountant_improves_old_ones(ledger):
    train(ledger, build_asked())
    (use,) = ledger.uses()
    assert json.loads(use.mechanism) == {
        "mechanism": "poisson-subsampled-gaussian",
        "sampling_rate": 0.1,
        "noise_multiplier": 1.0,
        "steps": 1,
    }
