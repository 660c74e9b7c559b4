"""The statement says what was proven, and no more."""

import json
import math
import re
from functools import cache

import pytest

from fedcore.errors import PrivacyError
from fedcore.privacy.accounting import epsilon_of
from fedcore.privacy.person import person_epsilon
from fedcore.privacy.plan import NoiseKind, PrivacyPlan, Relation
from fedcore.privacy.statement.build import Release, privacy_statement
from fedcore.privacy.statement.statement import Statement, check_statement
from fedcore.privacy.statement.words import explained
from fedcore_simulations import simulate
from tests.builders import TinyTask, build_plan, build_privacy, build_private_plan

FIELDS = Statement.model_fields
STARRED = [name for name, field in FIELDS.items() if field.is_required()]


def statement(**changes):
    names = ("trials", "contact", "run", "warnings", "split_is_shown", "ledgers", "acknowledged")
    told = {name: changes.pop(name) for name in names if name in changes}
    sizes = changes.pop("client_sizes", [30, 40])
    rounds = changes.pop("rounds", 4)
    asked = changes.pop("asked", rounds)
    return privacy_statement(
        build_privacy(**({"noise": NoiseKind.SECURE, "rounds": 4} | changes)),
        Release(
            rounds=rounds,
            asked=asked,
            client_sizes=sizes,
            preprocessing="public",
            verification="none",
            model_sha256="0" * 64,
            versions={"fedcore": "0"},
            **told,
        ),
    )


def test_a_statement_has_every_field_and_no_other():
    assert set(FIELDS) == set(statement())
    check_statement(statement())
    check_statement(statement(noise_multiplier=0.0))
    check_statement(statement(noise=NoiseKind.TEST))


@cache
def whole():
    return statement(contact="privacy@example.org", sampling_rate=1.0)


@pytest.mark.parametrize("name", STARRED)
def test_a_statement_without_a_starred_field_is_refused(name):
    told = whole()
    with pytest.raises(PrivacyError, match=rf"cannot be released[^$]*  statement.{name}: missing"):
        check_statement({key: value for key, value in told.items() if key != name})
    if name == "known_deviations":
        return  # none is an answer
    with pytest.raises(PrivacyError, match=rf"  statement.{name}(\.\w+)?: (missing|empty|expected)"):
        check_statement(told | {name: None if isinstance(told[name], int | float) else type(told[name])()})


@pytest.mark.parametrize("name", [name for name in FIELDS if name != "known_deviations"])
def test_a_field_of_another_kind_is_refused(name):
    with pytest.raises(PrivacyError, match=f"  statement.{name}: expected"):
        check_statement(whole() | {name: {1, 2}})


def test_a_field_that_nobody_knows_and_an_epsilon_that_is_not_one_are_refused():
    with pytest.raises(PrivacyError, match=r"unknown key in .statement.: 'epsilom'; did you mean 'epsilon'"):
        check_statement(whole() | {"epsilom": 1.0})
    with pytest.raises(PrivacyError, match="epsilon: expected"):
        check_statement(whole() | {"epsilon": math.inf})
    with pytest.raises(PrivacyError, match="epsilon: missing"):
        check_statement(whole() | {"epsilon": None})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("epsilon", -3.0, "epsilon: expected greater than or equal to 0"),
        ("delta", 5.0, "delta: expected less than 1"),
        ("delta", 0, "delta: expected greater than 0"),
        ("strength_tier", "fine", "strength_tier: expected 'strong', 'reasonable'"),
        ("unit", {"name": "house", "definition": "one"}, "unit.name: expected 'record' or 'client', found 'house'"),
        ("unit", {"name": "record"}, "unit.definition: missing"),
        ("unit", {"name": "record", "definition": ""}, "unit.definition: empty"),
        ("attack_bounds", {"advantage": 0.5}, "attack_bounds.tpr_at_fpr_1_percent: missing"),
        (
            "attack_bounds",
            {"tpr_at_fpr_1_percent": "x", "tpr_at_fpr_0_1_percent": 0.1},
            "tpr_at_fpr_1_percent: expected a valid number, found 'x'",
        ),
        ("person", {"max_records": "two", "epsilon": 1.0}, "person.max_records: expected a valid integer, found 'two'"),
        ("protected_from", [1], "protected_from[0]: expected a valid string, found 1"),
    ],
)
def test_what_cannot_be_and_what_the_words_would_miss_are_refused(name, value, message):
    with pytest.raises(PrivacyError, match=re.escape(message)):
        check_statement(whole() | {name: value})


def test_the_words_follow_the_figures_and_not_what_was_written_beside_them():
    assert "Formally (0.1, " not in explained(whole())
    assert "Formally (0.1, " in explained(whole() | {"epsilon": 0.1})


def test_a_run_whose_statement_lacks_something_leaves_no_model(tmp_path):
    class Silent(TinyTask):
        preprocessing = ""

    with pytest.raises(PrivacyError, match="preprocessing: empty"):
        simulate(Silent(), build_private_plan(), out=tmp_path / "run")
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_the_strength_is_told_in_tiers():
    told = [statement(noise_multiplier=noise, rounds=1)["strength_tier"] for noise in (20.0, 1.0, 0.2, 0.0)]
    assert told == ["strong", "reasonable", "weak", "none"]


def test_mu_is_given_where_it_is_exact_and_only_there():
    exact = statement(sampling_rate=1.0, noise_multiplier=4.0, rounds=4, relation=Relation.REPLACE_ONE)
    assert (exact["mu_gdp"], exact["zcdp_rho"]) == (1.0, 0.5)
    assert exact["attack_bounds"]["tpr_at_fpr_1_percent"] == pytest.approx(0.092, abs=1e-3)
    assert exact["attack_bounds"]["advantage"] == pytest.approx(0.383, abs=1e-3)
    assert statement()["mu_gdp"] is None


def test_the_profile_says_the_same_as_epsilon():
    told = statement()
    assert told["profile"]["epsilon_at_delta"]["1e-05"] == told["epsilon"]
    assert told["profile"]["delta_at_epsilon"]["8"] < told["profile"]["delta_at_epsilon"]["4"]


def test_a_person_is_told_apart_from_a_record():
    told = statement(max_records_per_person=3, noise_multiplier=4.0)
    mechanism = build_privacy(noise_multiplier=4.0).event(4)
    assert told["person"]["epsilon"] == person_epsilon(mechanism, 3, 1e-5) > told["epsilon"]
    assert re.search(r"up to 3 records at one client has ε = [\d.]+", told["plain_language"])
    assert statement()["person"] == {"max_records": None, "epsilon": None, "delta": 1e-5}


def test_declared_trials_are_charged_together():
    told = statement(trials=5)["hyperparameter_tuning"]
    assert told["epsilon_of_all_trials"] == epsilon_of(build_privacy().event(20), 1e-5)
    assert statement(trials=1)["hyperparameter_tuning"]["words"].startswith("none")
    assert statement()["hyperparameter_tuning"]["words"].startswith("not covered")


def test_epsilon_is_that_of_the_rounds_that_were_run():
    assert statement(rounds=2)["epsilon"] == epsilon_of(build_privacy().event(2), 1e-5)
    assert statement(rounds=2)["epsilon"] < statement(rounds=4)["epsilon"]


@pytest.mark.parametrize("noise_multiplier", [0.9, 1.1, 2.345, 4.243])
def test_the_words_never_state_less_than_what_was_proven(noise_multiplier):
    told = statement(noise_multiplier=noise_multiplier, sampling_rate=1.0, rounds=50)
    worded = float(re.search(r"Formally \(([\d.]+),", told["plain_language"]).group(1))
    assert told["epsilon"] <= worded <= told["epsilon"] + 0.01


def test_where_the_size_is_secret_nothing_that_is_written_tells_it(tmp_path):
    plan = build_private_plan(privacy={"relation": "add-remove"})
    simulate(TinyTask(), plan, out=tmp_path / "run")
    assert not (tmp_path / "run" / "split.json").exists()
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["examples"] is None


def test_where_the_size_is_secret_the_held_out_rows_are_told_to_be_counted_and_nothing_deviates():
    told = statement(relation=Relation.ADD_REMOVE)
    assert told["known_deviations"] == []
    assert any(line.startswith("how many rows are held out, exactly") for line in told["unprotected_outputs"])
    assert not any("held out, exactly" in line for line in statement()["unprotected_outputs"])
    assert any("fewer rows than its owner lets it train on" in line for line in told["unprotected_outputs"])


def test_the_ledgers_of_clients_that_tell_are_named():
    told = {"north": {"entry": 12, "digest": "ab" * 32}}
    assert statement(ledgers=told)["composition_scope"]["ledger_head"] == told
    assert statement()["composition_scope"]["ledger_head"] == {}


def test_failed_attempts_are_charged_and_noted():
    told = statement(rounds=2, asked=4)
    assert told["epsilon"] == statement(rounds=4)["epsilon"]
    assert told["steps"] == 4
    assert any("2 attempts at a round failed" in deviation for deviation in told["known_deviations"])
    assert "1 attempt at a round failed" in statement(rounds=3, asked=4)["known_deviations"][0]


def test_how_rows_lie_with_clients_is_told_to_be_released_where_it_is_alone():
    assert not any("split.json" in line for line in statement()["unprotected_outputs"])
    assert not any("simulation" in line for line in statement()["unprotected_outputs"])
    assert any("split.json" in line for line in statement(split_is_shown=True)["unprotected_outputs"])
    simulated = simulate(TinyTask(), build_private_plan()).privacy
    assert any("split.json" in line for line in simulated["unprotected_outputs"])


def test_test_noise_voids_the_statement_in_words():
    told = statement(noise=NoiseKind.TEST)
    assert told["valid"] is False
    assert any("NO privacy" in deviation for deviation in told["known_deviations"])
    assert told["rng"]["cryptographic"] is False
    assert told["plain_language"].startswith("This model carries no privacy guarantee")


def test_no_noise_is_no_epsilon():
    told = statement(noise_multiplier=0.0)
    assert told["epsilon"] is None
    assert told["valid"] is False
    json.dumps(told, allow_nan=False)


def test_a_delta_above_one_record_is_noted():
    assert any("1/N" in deviation for deviation in statement(delta=0.05)["known_deviations"])
    assert not statement()["known_deviations"]


def test_where_the_size_is_secret_the_statement_does_not_tell_it():
    told = statement(relation=Relation.ADD_REMOVE, client_sizes=[])
    assert "secret" in told["delta_against_size"]
    assert "the number of records of each client" not in told["public_quantities"]


def test_a_plan_that_was_not_resolved_makes_no_promise():
    with pytest.raises(PrivacyError, match="not resolved"):
        PrivacyPlan.from_run_plan(build_plan(privacy={"unit": "record", "epsilon": 1.0}))
    assert PrivacyPlan.from_run_plan(build_plan()) is None


def test_a_simulation_keeps_its_target_and_states_it():
    privacy = {"unit": "record", "epsilon": 3.0, "delta": 1e-6, "steps_per_round": 2}
    plan = build_plan(privacy=privacy, aggregation={"rule": None})
    result = simulate(TinyTask(), plan)
    assert 2.9 < result.privacy["epsilon"] <= 3.0
    assert result.privacy["delta"] == 1e-6
    assert result.privacy["steps"] == 6
    assert result.summary["epsilon"] == result.privacy["epsilon"]
    assert result.plan.privacy.epsilon is None
    assert result.plan.privacy.noise_multiplier == result.privacy["noise_multiplier"]
    assert result.plan.aggregation.rule == "uniform"
    assert result.privacy["valid"] is True


def test_epsilon_of_each_round_is_told_and_ends_at_the_statements():
    rounds = simulate(TinyTask(), build_private_plan()).rounds
    assert [record["epsilon"] for record in rounds] == [
        epsilon_of(build_privacy(steps_per_round=2).event(number), 1e-5) for number in (1, 2, 3)
    ]


def test_under_privacy_the_journal_holds_no_training_metric():
    assert all(record["training"] == {} for record in simulate(TinyTask(), build_private_plan()).rounds)
