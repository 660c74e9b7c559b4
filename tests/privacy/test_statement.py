"""The statement says what was proven, and no more."""

import json
import re

import pytest

from fedcore.errors import PrivacyError
from fedcore.privacy.accounting import epsilon_of
from fedcore.privacy.plan import NoiseKind, PrivacyPlan, Relation
from fedcore.privacy.statement import privacy_statement
from fedcore_simulations import simulate
from tests.builders import TinyTask, build_plan, build_privacy, build_private_plan

FIELDS = (
    "statement_version model_sha256 generated_by unit max_contribution neighbouring_relation public_quantities "
    "protected_outputs unprotected_outputs trust_model noise_location mechanism clip_norm noise_multiplier "
    "noise_std_released sampling steps rounds epsilon delta profile accountant composition_scope "
    "hyperparameter_tuning preprocessing public_data rng numerics verification known_deviations plain_language"
)


def statement(**changes):
    sizes = changes.pop("client_sizes", [30, 40])
    rounds = changes.pop("rounds", 4)
    asked = changes.pop("asked", rounds)
    return privacy_statement(
        build_privacy(**({"noise": NoiseKind.SECURE, "rounds": 4} | changes)),
        rounds=rounds,
        asked=asked,
        client_sizes=sizes,
        preprocessing="public",
        verification="none",
        model_sha256="0" * 64,
        versions={"fedcore": "0"},
    )


def test_a_statement_has_every_field():
    assert set(FIELDS.split()) <= set(statement())


def test_epsilon_is_that_of_the_rounds_that_were_run():
    assert statement(rounds=2)["epsilon"] == epsilon_of(build_privacy().event(2), 1e-5)
    assert statement(rounds=2)["epsilon"] < statement(rounds=4)["epsilon"]


@pytest.mark.parametrize("noise_multiplier", [0.9, 1.1, 2.345, 4.243])
def test_the_words_never_state_less_than_what_was_proven(noise_multiplier):
    told = statement(noise_multiplier=noise_multiplier, sampling_rate=1.0, rounds=50)
    worded = float(re.search(r"formally \(([\d.]+),", told["plain_language"]).group(1))
    assert told["epsilon"] <= worded <= told["epsilon"] + 0.01


def test_where_the_size_is_secret_nothing_that_is_written_tells_it(tmp_path):
    plan = build_private_plan(privacy={"relation": "add-remove"})
    simulate(TinyTask(), plan, out=tmp_path / "run")
    assert not (tmp_path / "run" / "split.json").exists()
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["examples"] is None


def test_failed_attempts_are_charged_and_noted():
    told = statement(rounds=2, asked=4)
    assert told["epsilon"] == statement(rounds=4)["epsilon"]
    assert told["steps"] == 4
    assert any("2 attempts at a round failed" in deviation for deviation in told["known_deviations"])


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
    plan = build_plan(privacy=privacy, federation={"weighting": None})
    result = simulate(TinyTask(), plan)
    assert 2.9 < result.privacy["epsilon"] <= 3.0
    assert result.privacy["delta"] == 1e-6
    assert result.privacy["steps"] == 6
    assert result.summary["epsilon"] == result.privacy["epsilon"]
    assert result.plan.privacy.epsilon is None
    assert result.plan.privacy.noise_multiplier == result.privacy["noise_multiplier"]
    assert result.plan.federation.weighting == "uniform"
    assert result.privacy["valid"] is True


def test_epsilon_of_each_round_is_told_and_ends_at_the_statements():
    rounds = simulate(TinyTask(), build_private_plan()).rounds
    assert [record["epsilon"] for record in rounds] == [
        epsilon_of(build_privacy(steps_per_round=2).event(number), 1e-5) for number in (1, 2, 3)
    ]


def test_under_privacy_the_journal_holds_no_training_metric():
    assert all(record["training"] == {} for record in simulate(TinyTask(), build_private_plan()).rounds)
