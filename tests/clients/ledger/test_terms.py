"""What a budget promises, what a use costs, and which numbers are refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcore.errors import PrivacyError
from fedcore.privacy.filters import renyi_divergence
from fedcore.privacy.plan import PrivacyEvent, Relation
from fedcore_clients.ledger.mechanism import Grant, epsilon_together, from_fields, to_text
from fedcore_clients.ledger.terms import NANO, Cost, Mode, Terms, agree

GAUSSIAN = PrivacyEvent(sampling_rate=1.0, noise_multiplier=10.0, steps=1)


def test_mode_gdp_buys_277_releases_with_noise_10_at_epsilon_8():
    terms = agree(epsilon=8.0, delta=1e-5, mode=Mode.GDP)
    assert terms.cap.units // terms.round_cost(GAUSSIAN).units == 277


def test_mode_rdp_buys_245_of_the_same():
    terms = agree(epsilon=8.0, delta=1e-5, mode=Mode.RDP)
    assert terms.cap.units // terms.round_cost(GAUSSIAN).units == pytest.approx(245, abs=1)


@pytest.mark.parametrize("mode", [Mode.GDP, Mode.RDP])
def test_a_use_costs_four_times_as_much_of_a_budget_for_replaced_records_without_sampling(mode):
    """A replaced record moves a sum by twice the clip norm, which costs as much as half the noise."""
    terms = agree(epsilon=8.0, delta=1e-5, mode=mode, relation=Relation.REPLACE_ONE)
    blanked = agree(epsilon=8.0, delta=1e-5, mode=mode)
    assert terms.round_cost(GAUSSIAN).units == pytest.approx(4 * blanked.round_cost(GAUSSIAN).units)


@pytest.mark.parametrize(
    ("mode", "sampling_rate"),
    [(Mode.UNIT, 0.2), (Mode.RDP, 0.2), (Mode.GRANTS, 0.2), (Mode.UNIT, 1.0), (Mode.RDP, 1.0), (Mode.GDP, 1.0)],
)
def test_what_a_budget_for_replaced_records_buys_keeps_its_epsilon(mode, sampling_rate):
    terms = agree(
        epsilon=8.0, delta=1e-5, mode=mode, relation=Relation.REPLACE_ONE, sampling_rate=sampling_rate,
        noise_multiplier=4.0, grants=1,
    )  # fmt: skip
    event, rounds = PrivacyEvent(sampling_rate=sampling_rate, noise_multiplier=4.0, steps=1), 1
    while terms.run_cost(event, rounds + 1).units <= terms.cap.units:
        rounds += 1
    assert rounds > 3
    whole = PrivacyEvent(sampling_rate=sampling_rate, noise_multiplier=4.0, steps=rounds)
    assert 4.0 < epsilon_together([whole], 1e-5, Relation.REPLACE_ONE) <= 8.0


def test_mode_unit_buys_254_steps_at_epsilon_1_where_mode_rdp_buys_next_to_none():
    event = PrivacyEvent(sampling_rate=0.01, noise_multiplier=1.0, steps=1)
    unit = agree(epsilon=1.0, delta=1e-5, mode=Mode.UNIT, sampling_rate=0.01, noise_multiplier=1.0)
    assert unit.cap.units == 254 * NANO
    rdp = agree(epsilon=1.0, delta=1e-5, mode=Mode.RDP)
    assert rdp.cap.units // rdp.round_cost(event).units < 10


@given(q=st.floats(1e-6, 1.0), noise=st.floats(0.05, 100.0), steps=st.integers(1, 10_000), rounds=st.integers(1, 500))
@settings(max_examples=60, deadline=None)
def test_costs_are_whole_rounded_up_and_add_up(q, noise, steps, rounds):
    terms = agree(epsilon=1000.0, delta=1e-5, mode=Mode.RDP, order=2.5)
    event = PrivacyEvent(sampling_rate=q, noise_multiplier=noise, steps=steps)
    exact = renyi_divergence(event, 2.5)
    if exact * NANO * (1 + 1e-9) >= 10**15:
        return
    cost = terms.round_cost(event).units
    assert cost >= exact * NANO
    assert cost <= exact * NANO * (1 + 1e-9) + 1
    assert terms.run_cost(event, rounds).units == rounds * cost


def test_caps_are_rounded_down():
    for epsilon in (0.7, 3.3, 11.1):
        gdp = agree(epsilon=epsilon, delta=1e-6, mode=Mode.GDP)
        again = Terms.from_fields(gdp.to_fields(), gdp.cap)
        assert again == gdp
        rounds = gdp.cap.units / NANO
        whole = PrivacyEvent(sampling_rate=1.0, noise_multiplier=1.0 / math.sqrt(rounds), steps=1)
        assert gdp.round_cost(whole).units <= gdp.cap.units + 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"epsilon": 0.0},
        {"epsilon": -1.0},
        {"epsilon": math.nan},
        {"epsilon": math.inf},
        {"delta": 0.0},
        {"delta": 1.0},
        {"delta": math.nan},
        {"mode": Mode.UNIT},
        {"mode": Mode.UNIT, "sampling_rate": 0.5},
        {"mode": Mode.UNIT, "sampling_rate": 0.0, "noise_multiplier": 1.0},
        {"mode": Mode.UNIT, "sampling_rate": 1.5, "noise_multiplier": 1.0},
        {"mode": Mode.UNIT, "sampling_rate": 0.5, "noise_multiplier": math.nan},
        {"mode": Mode.UNIT, "sampling_rate": 1.0, "noise_multiplier": 0.1},
    ],
)
def test_terms_that_make_no_sense_are_refused(wrong):
    with pytest.raises(PrivacyError):
        agree(**({"epsilon": 1.0, "delta": 1e-5, "mode": Mode.RDP} | wrong))


def test_mode_gdp_refuses_what_samples():
    with pytest.raises(PrivacyError, match="this one samples"):
        agree(epsilon=1.0, delta=1e-5, mode=Mode.GDP).round_cost(
            PrivacyEvent(sampling_rate=0.5, noise_multiplier=1.0, steps=1)
        )


def test_noise_too_small_for_any_budget_is_refused_and_never_wraps_around():
    terms = agree(epsilon=8.0, delta=1e-5, mode=Mode.RDP)
    for noise in (1e-6, 1e-160):
        with pytest.raises(PrivacyError, match="no bound"):
            terms.round_cost(PrivacyEvent(sampling_rate=1.0, noise_multiplier=noise, steps=1))


def test_a_grant_takes_as_many_shares_of_delta_as_it_needs():
    terms = agree(epsilon=8.0, delta=1e-5, mode=Mode.GRANTS, grants=4)
    rounded_up = NANO // 2 + 1
    assert terms.cost(Grant(epsilon=0.5, delta=0.0)) == Cost(units=rounded_up, slots=0)
    assert terms.cost(Grant(epsilon=0.5, delta=2.6e-6)) == Cost(units=rounded_up, slots=2)
    with pytest.raises(PrivacyError, match="can therefore not be changed"):
        terms.changed(8.0, 1e-6)


def test_a_smaller_epsilon_at_the_same_order_may_leave_nothing():
    terms = agree(epsilon=20.0, delta=1e-5, mode=Mode.RDP)
    assert terms.changed(1.0, 1e-5).cap == Cost(units=0)
    assert terms.changed(30.0, 1e-5).cap.units == pytest.approx(terms.cap.units + 10 * NANO, abs=2)


def test_grants_add_to_the_epsilon_of_mechanisms_at_what_they_leave_of_delta():
    alone = epsilon_together([GAUSSIAN], 1e-5)
    assert epsilon_together([GAUSSIAN, Grant(epsilon=0.5, delta=0.0)], 1e-5) == alone + 0.5
    assert epsilon_together([GAUSSIAN, Grant(epsilon=0.5, delta=5e-6)], 1e-5) > alone + 0.5
    assert epsilon_together([GAUSSIAN, Grant(epsilon=0.5, delta=1e-5)], 1e-5) == math.inf
    assert epsilon_together([GAUSSIAN, None], 1e-5) == math.inf
    assert epsilon_together([], 1e-5) == 0.0


@pytest.mark.parametrize("mechanism", [GAUSSIAN, Grant(epsilon=0.25, delta=1e-7)])
def test_a_mechanism_reads_back_as_it_was(mechanism):
    import json

    assert from_fields(json.loads(to_text(mechanism))) == mechanism
