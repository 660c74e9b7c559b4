"""The account of what was spent: durable, composed, and never short."""

from __future__ import annotations

import json
import math

import pytest
from fedcore_clients.policy.charge import Charge
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcore.errors import RefusedError, StorageError
from fedcore.privacy.accounting import epsilon_of
from fedcore.privacy.plan import PrivacyEvent
from fedcore_clients.policy import budget as budget_module
from fedcore_clients.policy.budget import Spending
from tests.clients.policy.builders import (
    Clock,
    build_bare_plan,
    build_open_policy,
    build_plan,
    build_policy,
    build_request,
)

STRICT = build_policy().privacy
OPEN = build_open_policy(privacy={"allow-test-noise": True}).privacy


@pytest.fixture
def spending(tmp_path):
    return Spending(tmp_path / "spends.jsonl", Clock())


def refusal_of(spending, request, policy=STRICT) -> str:
    before = spending.charges()
    with pytest.raises(RefusedError) as refused:
        spending.charge(request, policy)
    assert refused.value.code == "BUDGET"
    assert spending.charges() == before
    return str(refused.value)


def test_a_charge_stands_on_disk_as_one_line(spending, tmp_path):
    spending.charge(build_request(round=2, attempt=1, incarnation=3), STRICT)
    assert json.loads((tmp_path / "spends.jsonl").read_text()) == {
        "time": "2026-11-22T12:00:00+00:00",
        "data_set": "wards",
        "run": "first-run",
        "incarnation": 3,
        "round": 2,
        "attempt": 1,
        "event": {
            "mechanism": "poisson-subsampled-gaussian",
            "sampling_rate": 0.5,
            "noise_multiplier": 4.0,
            "steps": 2,
        },
    }


def test_rounds_compose_as_the_accountant_composes_them(spending):
    for number in range(1, 6):
        spending.charge(build_request(round=number), STRICT)
    together = PrivacyEvent(sampling_rate=0.5, noise_multiplier=4.0, steps=10)
    assert spending.epsilon("wards", 1e-5) == epsilon_of(together, 1e-5)


def test_runs_with_different_mechanisms_compose_and_are_not_added(spending):
    other = build_plan(privacy={"noise-multiplier": 6.0})
    spending.charge(build_request(), STRICT)
    spending.charge(build_request(other, run="second"), STRICT)
    events = [PrivacyEvent(sampling_rate=0.5, noise_multiplier=noise, steps=2) for noise in (4.0, 6.0)]
    assert spending.epsilon("wards", 1e-5) == epsilon_of(tuple(events), 1e-5)
    assert spending.epsilon("wards", 1e-5) < sum(epsilon_of(event, 1e-5) for event in events)


def test_every_call_charges_also_for_the_same_round(spending):
    for _ in range(3):
        spending.charge(build_request(), STRICT)
    assert len(spending.charges()) == 3


def test_a_run_that_would_not_fit_as_a_whole_is_refused_at_its_start_by_how_much(spending):
    tight = build_policy(privacy={"budget": {"epsilon": 1.0}}).privacy
    message = refusal_of(spending, build_request(), tight)
    whole = epsilon_of(build_whole(20), 1e-5)
    assert "privacy.budget is ε = 1 at δ = 1e-05, 0 are spent, and with the 10 rounds of this run" in message
    assert f"it would be {math.ceil(whole * 100) / 100:g}" in message
    assert "too much by" in message


def build_whole(steps: int) -> PrivacyEvent:
    return PrivacyEvent(sampling_rate=0.5, noise_multiplier=4.0, steps=steps)


def test_a_client_that_joins_late_is_held_to_the_rounds_that_are_left(spending):
    tight = build_policy(privacy={"budget": {"epsilon": epsilon_of(build_whole(4), 1e-5)}}).privacy
    refusal_of(spending, build_request(round=8), tight)
    spending.charge(build_request(round=9), tight)
    spending.charge(build_request(round=10), tight)


def test_an_exhausted_budget_refuses_the_next_round_only_on_its_data_set(spending):
    tight = build_policy(privacy={"budget": {"epsilon": epsilon_of(build_whole(20), 1e-5)}}).privacy
    for number in range(1, 11):
        spending.charge(build_request(round=number), tight)
    assert "with this round it would be" in refusal_of(spending, build_request(round=10, attempt=1), tight)
    refusal_of(spending, build_request(run="second"), tight)
    spending.charge(build_request(build_plan(task={"data": "digits"})), tight)


def test_rounds_tried_again_count_towards_the_epsilon_of_the_run(spending):
    limit = build_policy(privacy={"max-epsilon": epsilon_of(build_whole(20), 1e-5)}).privacy
    for attempt in range(10):
        spending.charge(build_request(attempt=attempt), limit)
    assert "with rounds tried again the run would spend" in refusal_of(spending, build_request(attempt=10), limit)
    spending.charge(build_request(run="second"), limit)


def test_training_without_privacy_is_refused_where_it_is_required(spending, tmp_path):
    assert "promise no privacy" in refusal_of(spending, build_request(build_bare_plan()))
    assert not (tmp_path / "spends.jsonl").exists()


@pytest.mark.parametrize("plan", [build_bare_plan(), build_plan(privacy={"noise": "test"})])
def test_what_promises_nothing_is_charged_as_infinite(spending, plan):
    spending.charge(build_request(plan), OPEN)
    assert spending.charges()[0].event is None
    assert spending.epsilon("wards", 1e-5) == math.inf
    assert spending.epsilon("digits", 1e-5) == 0.0


def test_after_training_without_privacy_no_finite_budget_is_left(spending):
    spending.charge(build_request(build_bare_plan()), OPEN)
    assert "1 charges on data set 'wards'" in refusal_of(spending, build_request(run="second"))
    spending.charge(build_request(run="second"), OPEN)


def test_without_required_privacy_the_budget_still_holds_for_private_plans(spending):
    tight = build_open_policy(privacy={"budget": {"epsilon": 0.5}}).privacy
    refusal_of(spending, build_request(), tight)


@pytest.mark.parametrize("kept", [1, 60, -1])
def test_a_torn_last_line_is_counted_as_one_more_of_what_is_asked(spending, tmp_path, kept):
    path = tmp_path / "spends.jsonl"
    spending.charge(build_request(round=1), STRICT)
    first = path.read_bytes()
    spending.charge(build_request(round=2), STRICT)
    path.write_bytes(first + path.read_bytes()[len(first) :][:kept])
    assert len(spending.charges()) == 1
    spending.charge(build_request(round=3), STRICT)
    assert [one.round for one in spending.charges()] == [1, 3, 3]
    assert path.read_bytes().startswith(first)
    assert path.read_bytes().endswith(b"\n")


def test_damage_before_the_last_line_stops_all_training(spending, tmp_path):
    for number in (1, 2):
        spending.charge(build_request(round=number), STRICT)
    path = tmp_path / "spends.jsonl"
    path.write_text(path.read_text().replace("wards", 'wa"rds', 1))
    with pytest.raises(StorageError, match="what was spent is not known"):
        spending.charge(build_request(round=3), STRICT)


def test_an_unknown_mechanism_is_never_taken_for_nothing(spending, tmp_path):
    spending.charge(build_request(), STRICT)
    path = tmp_path / "spends.jsonl"
    path.write_text(path.read_text().replace("poisson-subsampled-gaussian", "laplace"))
    with pytest.raises(StorageError, match="restored from a backup"):
        spending.epsilon("wards", 1e-5)


def test_a_charge_that_cannot_be_written_is_an_error(spending, monkeypatch):
    def full(path, line):
        raise StorageError("the disk is full")

    monkeypatch.setattr(budget_module, "append_line", full)
    with pytest.raises(StorageError, match="disk is full"):
        spending.charge(build_request(), STRICT)


def test_the_account_survives_a_restart(spending, tmp_path):
    spending.charge(build_request(), STRICT)
    assert Spending(tmp_path / "spends.jsonl", Clock()).charges() == spending.charges()


@given(rate=st.floats(1e-6, 1.0), noise=st.floats(0.01, 1e6), steps=st.integers(1, 10**6), name=st.text(max_size=20))
@settings(max_examples=50)
def test_a_line_reads_back_as_it_was(rate, noise, steps, name):
    event = PrivacyEvent(sampling_rate=rate, noise_multiplier=noise, steps=steps)
    charge = Charge(data_set=name, run=name, incarnation=1, round=2, attempt=3, event=event, time=Clock()())
    assert "\n" not in charge.to_line()
    assert Charge.from_line(charge.to_line()) == charge


@pytest.mark.parametrize("line", ["", "{}", "[]", "null", '{"event": 1}', "\xff"])
def test_what_is_no_charge_is_not_read_as_one(line):
    with pytest.raises(ValueError, match=r".*"):
        Charge.from_line(line)
