"""What a request costs: held against the policy and the account, with what an earlier version had spent."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from fedcore.errors import RefusedError, StorageError
from fedcore.privacy.accounting import epsilon_of
from fedcore.privacy.plan import PrivacyEvent, Relation
from fedcore.trust.identity import Identity
from fedcore_clients.agent.home import ClientHome
from fedcore_clients.ledger.entry import Kind
from fedcore_clients.ledger.mechanism import epsilon_together
from fedcore_clients.ledger.terms import Mode, agree
from fedcore_clients.policy.budget import Account
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
OLD = {
    "time": "2026-11-20T12:00:00+00:00",
    "data_set": "wards",
    "run": "first-run",
    "incarnation": 1,
    "round": 1,
    "attempt": 0,
    "event": {"mechanism": "poisson-subsampled-gaussian", "sampling_rate": 0.5, "noise_multiplier": 4.0, "steps": 2},
}


@pytest.fixture
def home(tmp_path):
    home = ClientHome(tmp_path)
    home.coordinator_key.write_text(Identity.create("coordinator").public.key.hex())
    return home


def opened(home, policy=STRICT):
    return Account.opened(home, policy, Clock())


def spent_epsilon(account, data_set="wards") -> float:
    return epsilon_together([use.parsed_mechanism() for use in account.ledger.uses(data_set)], 1e-5)


def refusal_of(account, request) -> str:
    before = account.ledger.uses()
    with pytest.raises(RefusedError) as refused:
        account.charge(request)
    assert refused.value.code == "BUDGET"
    assert account.ledger.uses() == before
    return str(refused.value)


def whole(steps: int) -> PrivacyEvent:
    return PrivacyEvent(sampling_rate=0.5, noise_multiplier=4.0, steps=steps)


def test_a_data_set_without_a_budget_is_given_the_policys_at_a_fixed_order(home):
    account = opened(home)
    account.charge(build_request())
    terms = account.ledger.budgets()["wards"].terms
    assert terms == agree(epsilon=20.0, delta=1e-5, mode=Mode.RDP)
    assert account.ledger.balance("wards").spent == terms.round_cost(whole(2))
    assert account.ledger.balance("wards").reserved.units == 9 * terms.round_cost(whole(2)).units


def test_rounds_compose_as_the_accountant_composes_them(home):
    account = opened(home)
    for number in range(1, 6):
        account.charge(build_request(round=number))
    assert spent_epsilon(account) == epsilon_of(whole(10), 1e-5)


def test_a_run_that_would_not_fit_as_a_whole_is_refused_at_its_start_by_how_much(home):
    message = refusal_of(opened(home, build_policy(privacy={"budget": {"epsilon": 1.0}}).privacy), build_request())
    assert "data set 'wards': the budget is ε = 1 at δ = 1e-05; 0 % of it is spent" in message
    assert "the 10 rounds of this run would take" in message
    assert "too much by" in message


def test_a_budget_that_buys_nothing_is_a_refusal_and_no_fault(home):
    nothing = build_policy(privacy={"budget": {"epsilon": 1e-9, "delta": 1e-12}}).privacy
    assert "leaves nothing to be spent" in refusal_of(opened(home, nothing), build_request())


def test_runs_of_the_same_name_in_two_consortia_are_two_runs(home):
    account = opened(home)
    account.charge(build_request())
    home.coordinator_key.write_text(Identity.create("coordinator").public.key.hex())
    another = opened(home)
    another.charge(build_request())
    assert len(another.ledger.uses()) == 2


def test_an_exhausted_budget_refuses_the_next_round_only_on_its_data_set(home):
    terms = agree(epsilon=20.0, delta=1e-5, mode=Mode.RDP)
    account = opened(home)
    most = terms.cap.units // terms.round_cost(whole(2)).units
    for run in range(most // 10):
        for number in range(1, 11):
            account.charge(build_request(round=number, run=f"run-{run}"))
    assert "of this run would take" in refusal_of(account, build_request(run="one-more"))
    account.charge(build_request(build_plan(task={"data": "digits"}), run="on-other-rows"))


def test_rounds_tried_again_count_towards_the_epsilon_of_the_run(home):
    account = opened(home, build_policy(privacy={"max-epsilon": epsilon_of(whole(20), 1e-5)}).privacy)
    for attempt in range(10):
        account.charge(build_request(attempt=attempt))
    again = build_request(attempt=10)
    assert "with rounds tried again the run would spend" in refusal_of(account, again)
    account.charge(build_request(run="second"))


def test_training_without_privacy_is_refused_where_it_is_required(home):
    assert "promise no privacy" in refusal_of(opened(home), build_request(build_bare_plan()))


@pytest.mark.parametrize("plan", [build_bare_plan(), build_plan(privacy={"noise": "test"})])
def test_what_promises_nothing_is_charged_as_infinite(home, plan):
    account = opened(home, OPEN)
    account.charge(build_request(plan))
    assert [use.kind for use in account.ledger.uses()] == [Kind.UNBOUNDED]
    assert spent_epsilon(account) == math.inf
    assert spent_epsilon(account, "digits") == 0.0


def test_after_training_without_privacy_no_finite_budget_is_left(home):
    opened(home, OPEN).charge(build_request(build_bare_plan()))
    assert "2 charges on data set 'wards'" in refusal_of(opened(home), build_request(build_bare_plan(), run="second"))
    assert "1 charges on data set 'wards'" in refusal_of(opened(home), build_request(run="second"))
    opened(home, OPEN).charge(build_request(run="second"))


def test_without_required_privacy_the_budget_still_holds_for_private_plans(home):
    refusal_of(opened(home, build_open_policy(privacy={"budget": {"epsilon": 0.5}}).privacy), build_request())


def test_a_budget_that_the_policy_made_follows_it_and_one_by_hand_does_not(home):
    account = opened(home)
    account.charge(build_request())
    smaller = build_policy(privacy={"budget": {"epsilon": 12.0}}).privacy
    opened(home, smaller).charge(build_request(round=2))
    terms = account.ledger.budgets()["wards"].terms
    assert (terms.epsilon, terms.order) == (12.0, agree(epsilon=20.0, delta=1e-5, mode=Mode.RDP).order)
    account.ledger.set_budget("wards", terms.changed(30.0, 1e-5), maker="owner")
    opened(home, smaller).charge(build_request(round=3))
    assert account.ledger.budgets()["wards"].terms.epsilon == 30.0


def test_a_budget_for_added_and_removed_records_is_not_spent_by_a_plan_that_tells_their_number(home):
    account = opened(home)
    terms = agree(epsilon=20.0, delta=1e-5, mode=Mode.RDP, relation="add-remove")
    account.ledger.set_budget("wards", terms, maker="owner")
    assert "reveals how many there are" in refusal_of(account, build_request())
    account.charge(build_request(build_plan(privacy={"relation": "add-remove"})))


def write_old(home, *charges, torn=b""):
    home.spends.write_bytes("".join(json.dumps(OLD | each) + "\n" for each in charges).encode() + torn)


def test_what_an_earlier_version_had_spent_is_taken_over_once(home):
    write_old(home, {}, {"round": 2}, {"data_set": "digits", "event": None}, {})
    for _ in range(2):
        account = opened(home)
        assert spent_epsilon(account) == epsilon_of(whole(6), 1e-5)
        assert spent_epsilon(account, "digits") == math.inf
    assert not home.spends.exists()
    assert len(account.ledger.uses()) == 4
    account.charge(build_request(round=3))
    assert spent_epsilon(account) == epsilon_of(whole(8), 1e-5)


def test_a_crash_while_it_is_taken_over_counts_nothing_twice_and_nothing_not(home, monkeypatch):
    write_old(home, {}, {"round": 2}, {"round": 3})
    content = home.spends.read_bytes()
    for left in range(3):
        with monkeypatch.context() as context:
            calls = iter(range(10))
            real = Account._take_over

            def torn(self, charge, left=left, calls=calls, real=real):
                if next(calls) > left:
                    raise StorageError("killed")
                real(self, charge)

            context.setattr(Account, "_take_over", torn)
            if left < 2:
                with pytest.raises(StorageError, match="killed"):
                    opened(home)
                assert home.spends.read_bytes() == content
            else:
                opened(home)
    assert [use.kind for use in opened(home).ledger.uses()] == [Kind.SPEND] * 3


@pytest.mark.parametrize("torn", [b"{", json.dumps(OLD).encode()[:60]])
def test_a_torn_last_line_is_counted_as_one_more_like_the_one_before(home, torn):
    write_old(home, {}, torn=torn)
    assert spent_epsilon(opened(home)) == epsilon_of(whole(4), 1e-5)


@pytest.mark.parametrize(
    "how", [b"wa\xff", b"{}", b'{"event": 1}', json.dumps(OLD).encode().replace(b"gaussian", b"x")]
)
def test_damage_in_the_account_of_an_earlier_version_stops_all_training(home, how):
    write_old(home, {})
    home.spends.write_bytes(how + b"\n" + home.spends.read_bytes())
    with pytest.raises(StorageError, match="what was spent is unknown"):
        opened(home)
    assert home.spends.exists()


def test_more_than_the_budget_was_spent_before_and_is_on_record_all_the_same(home):
    steps = {"event": OLD["event"] | {"steps": 5000}}
    write_old(home, steps, {"event": OLD["event"] | {"noise_multiplier": 1e-7}})
    account = opened(home)
    assert account.ledger.balance("wards").left == 0
    assert [use.kind for use in account.ledger.uses()] == [Kind.SPEND, Kind.UNBOUNDED]


def test_rounds_tried_again_are_held_against_the_plans_own_relation(home):
    """Under replace-one the same noise costs more: what a run may spend must not be counted in a cheaper relation."""
    policy = build_policy(
        privacy={"relations": ["zero-out", "replace-one"], "max-epsilon": 6.0, "budget": {"epsilon": 200.0}}
    ).privacy
    account, plan = opened(home, policy), build_plan(privacy={"relation": "replace-one"})

    def charged_until_refused():
        for attempt in range(200):
            try:
                account.charge(build_request(plan, round=1, attempt=attempt))
            except RefusedError:
                return attempt
        raise AssertionError("never refused")

    told = epsilon_of(whole(2 * charged_until_refused()), plan.privacy.delta, Relation.REPLACE_ONE)
    assert 4.0 < told <= 6.0


NOISED = {"evaluation-noise-multiplier": 3.0}


def test_an_evaluation_with_noise_is_charged_and_one_without_is_not(home):
    account = opened(home)
    account.charge(build_request(kind="evaluate"))
    assert account.ledger.uses() == []
    plan = build_plan(privacy=NOISED)
    for number in (1, 2):
        account.charge(build_request(plan, kind="evaluate", round=number))
    events = [use.parsed_mechanism() for use in account.ledger.uses("wards")]
    assert events == [PrivacyEvent(sampling_rate=1.0, noise_multiplier=3.0, steps=1)] * 2
    assert spent_epsilon(account) == pytest.approx(epsilon_of(replace(events[0], steps=2), 1e-5), rel=1e-3)


def test_an_evaluation_is_charged_beside_the_training_of_its_run(home):
    account, plan = opened(home), build_plan(privacy=NOISED)
    account.charge(build_request(plan))
    account.charge(build_request(plan, kind="evaluate"))
    assert len(account.ledger.uses("wards")) == 2


def test_an_evaluation_asked_for_twice_is_charged_twice_or_refused(home):
    account, plan = opened(home), build_plan(privacy=NOISED)
    account.charge(build_request(plan, kind="evaluate"))
    with pytest.raises(RefusedError) as refused:
        account.charge(build_request(plan, kind="evaluate"))
    assert refused.value.code == "STALE"
    account.charge(build_request(plan, kind="evaluate", incarnation=2))
    assert len(account.ledger.uses("wards")) == 2


@pytest.mark.parametrize("waits_for_data", [True, False])
def test_where_the_plan_has_hooks_the_untrained_model_may_be_evaluated_too(home, waits_for_data):
    """A client cannot know which points the server's hooks wait for."""
    account, plan = opened(home), build_plan(privacy=NOISED, audit={"hooks": ["anything:Hook"]})
    for number in range(0 if waits_for_data else 1, 11):
        account.charge(build_request(plan, kind="evaluate", round=number))
    reserved = sum(entry.rounds for entry in account.ledger.entries() if entry.kind is Kind.RESERVE)
    assert reserved == len(account.ledger.uses("wards")) == 10 + waits_for_data


def test_an_earlier_rounds_model_that_is_released_is_charged_within_what_was_set_aside(home):
    limits = [{"metric": "accuracy", "at-most": 0.2}]
    vocabularies = {"stroke": ["light", "medium", "heavy", "unknown"]}
    account, plan = (
        opened(home),
        build_plan(
            privacy=NOISED,
            federation={"evaluate-every": 3},
            audit={
                "sensitive": ["stroke"],
                "limits": limits,
                "vocabularies": vocabularies,
                "checkpoint": "within-limits",
            },
        ),
    )
    for number, attempt in ((3, 0), (6, 0), (9, 0), (10, 0), (10, 1)):
        account.charge(build_request(plan, kind="evaluate", round=number, attempt=attempt))
    reserved = sum(entry.rounds for entry in account.ledger.entries() if entry.kind is Kind.RESERVE)
    assert reserved == len(account.ledger.uses("wards")) == 5


def test_more_evaluations_than_the_budget_holds_are_refused_before_data_is_opened(home):
    account = opened(home)
    refusal_of(account, build_request(build_plan(privacy={"evaluation-noise-multiplier": 0.2}), kind="evaluate"))
