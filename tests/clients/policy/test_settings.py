"""The policy file: defaults, problems in words, and the template."""

from __future__ import annotations

import tomllib

import pytest

from fedcore.errors import PlanError
from fedcore_clients.policy.settings import SECTIONS, Policy
from fedcore_clients.policy.template import policy_template
from tests.clients.policy.builders import build_policy


def problems_of(**sections) -> tuple[str, ...]:
    with pytest.raises(PlanError) as refusal:
        Policy.from_mapping(sections)
    return refusal.value.problems


def test_the_defaults_allow_nothing_and_require_privacy():
    policy = Policy()
    assert policy.tasks.allowed == policy.release.evaluation == policy.release.group_tables == ()
    assert policy.data.allowed == {}
    assert policy.privacy.required
    assert (policy.privacy.max_epsilon, policy.privacy.budget.epsilon) == (10.0, 20.0)
    assert policy.cohort.minimum == 2
    assert policy.approval.valid_days == 30


def test_the_template_parses_to_the_defaults():
    assert Policy.from_mapping(tomllib.loads(policy_template())) == Policy()


def test_the_template_has_every_key_under_its_description():
    lines = policy_template().splitlines()
    told = " ".join(" ".join(line.removeprefix("# ") if line.startswith("# ") else line for line in lines).split())
    for name, section in SECTIONS.items():
        assert f"[{name}]" in lines
        for field in section.model_fields.values():
            assert " ".join(field.description.split()) in told or field.alias == "budget"
            assert any(
                line.removeprefix("# ").startswith((f"{field.alias} = ", f"[{name}.{field.alias}]")) for line in lines
            )


def test_the_template_can_be_uncommented():
    text = policy_template().replace("# max-update-norm", "max-update-norm")
    assert Policy.from_mapping(tomllib.loads(text)).release.max_update_norm == 100.0


def test_all_problems_are_told_at_once_with_the_nearest_key():
    problems = problems_of(
        privcy={},
        privacy={"max-epsilom": 3, "budget": {"epsilonn": 1.0}, "required": "yes"},
        cohort={"minimum": 0},
    )
    assert problems == (
        "unknown section: 'privcy'; did you mean 'privacy'?",
        "cohort.minimum: expected greater than or equal to 1, found 0",
        "privacy.required: expected a valid boolean, found 'yes'",
        "unknown key in [privacy.budget]: 'epsilonn'; did you mean 'epsilon'?",
        "unknown key in [privacy]: 'max-epsilom'; did you mean 'max-epsilon'?",
    )


@pytest.mark.parametrize(
    ("section", "content", "message"),
    [
        ("training", {"rounds": [10, 1]}, r"training.rounds: expected \[lowest, highest\], found \[10, 1\]"),
        ("training", {"held-out": [0.3, 0.2]}, "training.held-out: expected"),
        ("training", {"rounds": [1]}, r"training.rounds\[1\]: missing"),
        ("privacy", {"allow-test-noise": True}, "set required = false as well"),
        ("privacy", {"units": []}, "need at least one entry"),
        ("privacy", {"units": ["client"]}, "privacy.units"),
        ("privacy", {"max-epsilon": float("inf")}, "finite"),
        ("privacy", {"max-epsilon": float("nan")}, "privacy.max-epsilon"),
        ("privacy", {"max-epsilon": True}, "privacy.max-epsilon"),
        ("data", {"allowed": {"../wards": ["digits"]}}, "data.allowed"),
        ("data", {"allowed": {"wards": ["digits"]}}, "task 'digits' is not in tasks.allowed, which lists none"),
        ("tasks", {"options": {"tabular": ["label"]}}, "tasks.options: task 'tabular' is not in tasks.allowed"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(section, content, message):
    with pytest.raises(PlanError, match=message):
        Policy.from_mapping({section: content})


def test_a_file_that_is_absent_or_no_toml_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(PlanError, match="fedcore client policy --out"):
        Policy.from_toml(tmp_path / "policy.toml")
    (tmp_path / "policy.toml").write_text("[tasks\n")
    with pytest.raises(PlanError, match="is not TOML"):
        Policy.from_toml(tmp_path / "policy.toml")


def test_the_hash_is_that_of_what_the_policy_says(tmp_path):
    (tmp_path / "policy.toml").write_text("# mine\n[cohort]\nminimum = 2\n")
    assert Policy.from_toml(tmp_path / "policy.toml").sha256 == Policy().sha256
    assert build_policy().sha256 != Policy().sha256


def test_a_policy_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Policy().privacy.required = False
