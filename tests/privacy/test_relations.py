"""One frozen plan from which sensitivity, noise, accounting and gates derive, whatever the neighbours are."""

import math

import pytest
import torch
from scipy.stats import norm

from fedcore.errors import PlanError, PrivacyError, RefusedError
from fedcore.plan import RunPlan
from fedcore.privacy.accounting import calibrate_noise_multiplier, composed_epsilon, epsilon_of, privacy_losses
from fedcore.privacy.attacks import AttackBounds, exact_mu
from fedcore.privacy.mechanisms import clipped_sum, release
from fedcore.privacy.noise import SecureRandomness
from fedcore.privacy.person import person_epsilon
from fedcore.privacy.plan import PrivacyEvent, PrivacyPlan, Relation
from fedcore.privacy.resolution import resolve_privacy
from fedcore_clients.policy.privacy_gate import check_privacy
from fedcore_clients.policy.sections import PrivacySection
from fedcore_simulations import simulate
from tests.builders import TinyTask, build_plan, build_privacy, build_private_plan


def event(sampling_rate: float, noise_multiplier: float, steps: int) -> PrivacyEvent:
    return PrivacyEvent(sampling_rate=sampling_rate, noise_multiplier=noise_multiplier, steps=steps)


TABLE = [  # q, σ, T, δ, zero-out, replace-one: dp-accounting's PLDAccountant in bins of 1e-4
    (0.01, 1.0, 10_000, 1e-5, 6.18774, 10.88081),
    (0.01, 1.1, 1_000, 1e-5, 1.51537, 2.47780),
    (256 / 60_000, 1.1, 14_063, 1e-5, 2.38178, 4.22153),
    (0.1, 2.0, 100, 1e-5, 2.33740, 4.36810),
    (0.1, 1.0, 100, 1e-5, 7.04660, 10.51638),
    (0.5, 2.0, 100, 1e-5, 14.28448, 31.75423),
    (1.0, 10.0, 100, 1e-5, 4.37718, 9.99726),
    (1.0, 5.0, 1, 1e-5, 0.72552, 1.55498),
    (0.001, 0.6, 10_000, 1e-6, 3.15223, 3.45468),
    (0.02, 0.8, 500, 1e-5, 4.66801, 6.24130),
]


@pytest.mark.parametrize("row", TABLE)
def test_epsilon_is_that_of_a_finer_accountant_to_a_thousandth(row):
    *parameters, delta, blanked, replaced = row
    mechanism = event(*parameters)
    for relation, expected in ((Relation.ZERO_OUT, blanked), (Relation.REPLACE_ONE, replaced)):
        assert expected - 1e-5 <= epsilon_of(mechanism, delta, relation) <= expected + 1e-3
    assert epsilon_of(mechanism, delta, Relation.ADD_REMOVE) == epsilon_of(mechanism, delta, Relation.ZERO_OUT)


@pytest.mark.parametrize("rate", [0.1, 1.0])
def test_replacing_costs_no_more_than_blanking_with_half_the_noise(rate):
    replaced = epsilon_of(event(rate, 2.0, 40), 1e-5, Relation.REPLACE_ONE)
    assert epsilon_of(event(rate, 2.0, 40), 1e-5) < replaced <= epsilon_of(event(rate, 1.0, 40), 1e-5) + 1e-3


def test_replacing_a_record_moves_the_clipped_sum_by_up_to_the_sensitivity_and_never_more():
    blanked, replaced = build_privacy(), build_privacy(relation=Relation.REPLACE_ONE)
    rows = torch.tensor([[3.0, 4.0], [-3.0, -4.0], [0.1, 0.0]])
    with_one, with_other = (clipped_sum([rows[[kept, 2]]], replaced.clip_norm) for kept in (0, 1))
    assert float((with_one - with_other).norm()) == pytest.approx(replaced.sensitivity)
    assert replaced.sensitivity == 2 * blanked.sensitivity
    assert replaced.noise_std == blanked.noise_std


def test_the_noise_that_is_added_is_that_which_is_accounted_for():
    plan = build_privacy(relation=Relation.REPLACE_ONE, clip_norm=3.0, noise_multiplier=2.0, nominal_batch=1.0)
    drawn = release(torch.zeros(200_000, dtype=torch.float64), plan, SecureRandomness())
    assert float(drawn.std()) == pytest.approx(plan.event(1).noise_multiplier * plan.clip_norm, rel=0.01)


def test_a_target_is_kept_for_the_relation_of_the_plan():
    plans = [
        build_plan(privacy={"unit": "record", "epsilon": 4.0, "relation": relation, "nominal_batch": 10.0})
        for relation in ("zero-out", "replace-one")
    ]
    blanked, replaced = (resolve_privacy(plan, nominal_batch=10.0)["noise-multiplier"] for plan in plans)
    assert replaced > 1.3 * blanked
    assert 3.9 < epsilon_of(event(0.5, replaced, 3), 1e-5, Relation.REPLACE_ONE) <= 4.0


def test_a_run_under_replace_one_states_its_own_epsilon_in_journal_summary_and_statement():
    plan = build_private_plan(privacy={"relation": "replace-one"})
    result = simulate(TinyTask(), plan)
    expected = epsilon_of(PrivacyPlan.from_run_plan(plan).total_event, 1e-5, Relation.REPLACE_ONE)
    assert result.privacy["epsilon"] == result.summary["epsilon"] == result.rounds[-1]["epsilon"] == expected
    assert result.privacy["sensitivity"] == 2.0
    assert result.privacy["accountant"]["relation"] == "REPLACE_ONE"


def test_a_client_bounds_the_epsilon_of_the_relation_that_is_promised():
    policy = PrivacySection.model_validate({"relations": ("replace-one", "zero-out"), "max-epsilon": 4.5})
    keys = {"noise_multiplier": 1.5, "sampling_rate": 0.5, "steps_per_round": 1, "noise": "secure"}
    check_privacy(build_private_plan(privacy=keys), policy)
    with pytest.raises(RefusedError, match="max-epsilon"):
        check_privacy(build_private_plan(privacy=keys | {"relation": "replace-one"}), policy)


def test_events_are_composed_for_any_relation():
    mechanism = event(0.1, 2.0, 50)
    composed = composed_epsilon([mechanism, mechanism], 1e-5, Relation.REPLACE_ONE)
    assert composed == epsilon_of((event(0.1, 2.0, 100),), 1e-5, Relation.REPLACE_ONE)


def test_calibration_inverts_the_accountant_of_its_relation():
    noise = calibrate_noise_multiplier(
        epsilon=2.0, delta=1e-5, sampling_rate=0.1, steps=100, relation=Relation.REPLACE_ONE
    )
    assert 1.98 < epsilon_of(event(0.1, noise, 100), 1e-5, Relation.REPLACE_ONE) <= 2.0


@pytest.mark.parametrize(("records", "expected"), [(1, 3.90), (2, 8.75), (3, 14.3), (5, 27.5), (10, 71.5)])
def test_a_person_with_several_records_is_accounted_for_exactly(records, expected):
    """Expected: dp-accounting's mixture of Gaussians with a binomial number of records."""
    assert person_epsilon(event(0.02, 1.0, 1000), records, 1e-5) == pytest.approx(expected, abs=0.051)


@pytest.mark.parametrize("relation", list(Relation))
def test_without_sampling_a_person_is_a_record_of_as_many_times_the_norm(relation):
    moved = 4.0 if relation is not Relation.REPLACE_ONE else 8.0
    expected = epsilon_of(event(1.0, 40.0 / moved, 10), 1e-5)
    assert person_epsilon(event(1.0, 40.0, 10), 4, 1e-5, relation) == pytest.approx(expected, abs=2e-3)


def test_a_person_whose_records_are_replaced_costs_between_blanking_them_and_moving_all_by_twice():
    mechanism = event(0.02, 2.0, 200)
    blanked = person_epsilon(mechanism, 2, 1e-5)
    replaced = person_epsilon(mechanism, 2, 1e-5, Relation.REPLACE_ONE)
    assert blanked < replaced < 3.5 * blanked
    assert person_epsilon(event(0.02, 1e-4, 5), 2, 1e-5) == math.inf


@pytest.mark.parametrize("records", [0, 1001])
def test_a_number_of_records_that_makes_no_sense_is_refused(records):
    with pytest.raises(PrivacyError, match="1 to 1000"):
        person_epsilon(event(0.02, 1.0, 10), records, 1e-5)


def test_the_cap_of_a_person_is_a_key_of_the_plan():
    plan = build_private_plan(privacy={"max_records_per_person": 3})
    assert PrivacyPlan.from_run_plan(plan).max_records_per_person == 3
    with pytest.raises(PlanError, match="max-records-per-person"):
        RunPlan.from_mapping({"privacy": {"max-records-per-person": 0}})


@pytest.mark.parametrize("mu", [0.5, 1.0, 1.667, 5.0])
def test_bounds_on_attacks_are_those_of_the_gaussian_trade_off(mu):
    mechanism = event(1.0, 1.0 / mu, 1)
    bounds = AttackBounds.of(privacy_losses(mechanism))
    for fpr, found in ((0.01, bounds.tpr_at_fpr_1_percent), (0.001, bounds.tpr_at_fpr_0_1_percent)):
        exact = norm.cdf(norm.ppf(fpr) + mu)
        assert exact - 1e-9 <= found <= exact + 1e-3
    assert bounds.advantage == pytest.approx(2 * norm.cdf(mu / 2) - 1, abs=1e-3)
    assert exact_mu(mechanism, Relation.ZERO_OUT) == pytest.approx(mu)
    assert exact_mu(mechanism, Relation.REPLACE_ONE) == pytest.approx(2 * mu)


def test_bounds_on_attacks_are_none_without_noise_and_guessing_without_a_release():
    assert AttackBounds.of(privacy_losses(event(0.5, 0.0, 1))).tpr_at_fpr_1_percent == 1.0
    assert AttackBounds.of(privacy_losses(())).tpr_at_fpr_1_percent == 0.01
    assert exact_mu(event(0.5, 1.0, 1), Relation.ZERO_OUT) is None
