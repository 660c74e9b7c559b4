"""Plans: all errors at once, nearest key named, the same hash for the same content."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcore.errors import PlanError
from fedcore.plan import RunPlan, merge
from fedcore.plan.reading import POLICY_ONLY
from fedcore.plan.sections import SECTIONS
from fedcore_clients.policy.settings import SECTIONS as POLICY_SECTIONS
from fedcore_clients.policy.template import policy_template
from fedcore_simulations.commands.options import plan_from_options
from fedcore_simulations.scenarios import scenarios


def problems(mapping) -> tuple[str, ...]:
    with pytest.raises(PlanError) as caught:
        RunPlan.from_mapping(mapping)
    return caught.value.problems


def test_an_empty_plan_is_a_plan():
    assert RunPlan.from_mapping({}).federation.clients == 10


def test_all_problems_in_all_sections_are_told_at_once():
    found = problems(
        {
            "federation": {"clientz": 5, "rounds": 0, "cohort-size": 3},
            "privacy": {"unit": "record"},
            "trainig": {},
            "training": {"learning-rate": "fast"},
            "audit": {"threshold": 0.51, "sensitive": ["sex"], "score-bins": 64},
        }
    )
    assert len(found) == 6
    told = "\n".join(found)
    for expected in (
        "'clients'",
        "rounds",
        "'training'",
        "learning-rate",
        "exactly one of epsilon",
        "multiple of 1/64",
    ):
        assert expected in told


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        ({"privacy": {"epsilonn": 1}}, "unknown key in [privacy]: 'epsilonn'; did you mean 'epsilon'?"),
        ({"privacy": {"noise_multiplier": 1}}, "did you mean 'noise-multiplier'?"),
        (
            {"audit": {"limits": [{"metric": "accuracy", "at_most": 0.1}], "sensitive": ["a"]}},
            "did you mean 'at-most'?",
        ),
        ({"privcy": {}}, "unknown section: 'privcy'; did you mean 'privacy'?"),
        ({"zzz": {}}, "known are task, federation"),
        ({"privacy": {"unit": "record", "epsilon": 0.0}}, "privacy.epsilon: expected greater than 0, found 0.0"),
        ({"privacy": {"unit": "record", "epsilon": -1.0}}, "privacy.epsilon: expected greater than 0, found -1.0"),
        (
            {"privacy": {"unit": "record", "epsilon": 1.0, "delta": 1.0}},
            "privacy.delta: expected less than 1, found 1.0",
        ),
        (
            {"privacy": {"unit": "record", "epsilon": 1.0, "delta": 0}},
            "privacy.delta: expected greater than 0, found 0",
        ),
        (
            {"privacy": {"unit": "patient", "epsilon": 1.0}},
            "privacy.unit: expected 'none', 'record' or 'client', found 'patient'",
        ),
        ({"privacy": {"unit": "record", "epsilon": 1.0, "noise-multiplier": 1.0}}, "exactly one of epsilon"),
        ({"privacy": {"unit": "record", "epsilon": 1.0, "relation": "add-remove"}}, "privacy.nominal-batch: needed"),
        ({"privacy": {"unit": "record", "epsilon": float("inf")}}, "privacy.epsilon"),
        ({"federation": {"cohort-size": 11}}, "expected at most clients = 10, found 11"),
        ({"federation": {"quorum": 11}}, "federation.quorum: expected at most the cohort"),
        ({"federation": {"cohort-sampling": "poisson"}}, "poisson needs cohort-size"),
        ({"federation": {"clients": 2.5}}, "federation.clients"),
        ({"audit": {"limits": [{"metric": "accuracy"}]}}, "no attribute in audit.sensitive"),
        (
            {"audit": {"sensitive": ["a"], "limits": [{"metric": "accuracy", "at-most": x} for x in (0.1, 0.2)]}},
            "audit.limits: accuracy difference over every attribute at most 0.1 and accuracy difference over every "
            "attribute at most 0.2 contradict each other; keep one",
        ),
        ({"engine": {"workers": -1}}, "engine.workers"),
        ({"training": {"optimizer-options": {"lr": 1.0}}}, "lr is set by learning-rate"),
        ({"federation": {"weighting": "uniform"}}, "federation.weighting has moved; it is now aggregation.rule"),
        ({"mitigation": {"method": "reweighing"}}, "mitigation.method has moved; it is now algorithm.name"),
        ({"mitigation": {"name": "reweighing"}}, "section [mitigation] has moved; it is now [algorithm]"),
        (
            {"audit": {"sensitive": ["a"], "limits": [{"metric": "acuracy", "at-most": 0.1}]}},
            "audit.limits: limit: unknown metric 'acuracy'; did you mean 'accuracy'?",
        ),
    ],
)
def test_a_problem_says_where_what_was_expected_and_what_was_found(mapping, expected):
    assert any(expected in problem for problem in problems(mapping)), problems(mapping)


def test_a_plan_cannot_be_changed_and_is_hashable_by_content():
    plan = RunPlan.from_mapping({"federation": {"rounds": 7}})
    with pytest.raises(Exception, match="frozen"):
        plan.federation.rounds = 8
    assert plan.sha256 == RunPlan.from_mapping({"federation": {"rounds": 7, "clients": 10}}).sha256
    assert plan.sha256 != RunPlan.from_mapping({"federation": {"rounds": 8}}).sha256


def test_the_engine_is_no_part_of_what_a_plan_says():
    assert RunPlan.from_mapping({"engine": {"workers": 3}}).sha256 == RunPlan.from_mapping({}).sha256


@given(rounds=st.integers(1, 10**6), rate=st.floats(1e-12, 1e6), name=st.text(min_size=1), share=st.floats(0.01, 0.99))
def test_a_plan_survives_toml(rounds, rate, name, share):
    plan = RunPlan.from_mapping(
        {
            "task": {"name": name, "options": {"a": [1, 2], "b": {"c": "x"}}},
            "federation": {"rounds": rounds, "held-out": share},
            "training": {"learning-rate": rate, "optimizer-options": {"momentum": 0.9, "nesterov": True}},
        }
    )
    again = RunPlan.from_mapping(tomllib.loads(plan.to_toml()))
    assert again == plan
    assert again.sha256 == plan.sha256


def test_a_file_that_is_absent_or_no_toml_is_one_clear_error(tmp_path):
    with pytest.raises(PlanError, match="no plan at"):
        RunPlan.from_toml(tmp_path / "absent.toml")
    (tmp_path / "bad.toml").write_text("[federation\nrounds = 3")
    with pytest.raises(PlanError, match="is not TOML"):
        RunPlan.from_toml(tmp_path / "bad.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PlanError, match="cannot be read"):
        RunPlan.from_toml(tmp_path / "binary.toml")


def test_naming_epsilon_above_drops_the_noise_multiplier_below():
    below = {"privacy": {"noise-multiplier": 1.0, "delta": 1e-6}}
    assert merge(below, {"privacy": {"epsilon": 2.0}}) == {"privacy": {"epsilon": 2.0, "delta": 1e-6}}


@pytest.mark.parametrize("name", scenarios())
def test_every_scenario_is_a_plan(name):
    assert RunPlan.from_toml(scenarios()[name]).task.name


def test_a_runs_directory_in_place_of_a_plan_is_told_where_its_plan_is(tmp_path):
    (tmp_path / "plan.toml").touch()
    with pytest.raises(PlanError, match=r"directory of a run; its plan is .*plan\.toml"):
        plan_from_options(str(tmp_path), {}, [])


def test_epsilon_and_noise_multiplier_set_together_are_refused_and_not_one_of_them_dropped():
    with pytest.raises(PlanError, match="found both"):
        plan_from_options("digits", {}, ["privacy.epsilon=8", "privacy.noise-multiplier=3"])
    assert plan_from_options("digits", {}, ["privacy.noise-multiplier=3"]).privacy.epsilon is None


def test_options_lie_over_the_scenario_and_settings_over_options():
    plan = plan_from_options(
        "digits",
        {"federation.rounds": 3, "federation.clients": None, "privacy.epsilon": 2.0},
        ["federation.rounds=4", "federation.server-optimizer=adam", "audit.sensitive=[]", "audit.limits=[]"],
    )
    assert plan.federation.rounds == 4
    assert plan.federation.clients == 10
    assert plan.federation.server_optimizer == "adam"
    assert plan.privacy.epsilon == 2.0
    assert plan.audit.sensitive == ()


@pytest.mark.parametrize("setting", ["rounds", "rounds=3", "federation.=3", ".rounds=3", "=3"])
def test_a_setting_without_section_key_and_value_is_refused(setting):
    with pytest.raises(PlanError, match=r"expected section\.key=value"):
        plan_from_options("digits", {}, [setting])


def test_an_unknown_scenario_names_the_nearest():
    with pytest.raises(PlanError, match="did you mean 'digits'"):
        plan_from_options("digit", {}, [])


def test_a_clients_policy_is_told_from_a_plan_in_one_line(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text(policy_template())
    with pytest.raises(PlanError, match="this is a client's policy and no plan") as refused:
        RunPlan.from_toml(path)
    assert len(refused.value.problems) == 1
    assert set(POLICY_SECTIONS) - set(SECTIONS) == POLICY_ONLY


@pytest.mark.parametrize(
    "mapping", [{"project": {"name": "x"}, "tool": {}}, {"name": "a", "consortium": "b", "server": "c:1"}]
)
def test_a_file_that_is_something_else_is_told_to_be_no_plan_in_one_line(mapping):
    (told,) = problems(mapping)
    assert told.startswith("this is not a plan: it has ")


def test_two_unknown_sections_in_a_plan_are_told_with_all_that_is_wrong():
    told = problems({"task": {"nam": 1}, "zzz": {}, "federation": {}})
    assert len(told) == 2
