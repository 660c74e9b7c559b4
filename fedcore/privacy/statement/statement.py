"""The fields of a privacy statement, and the refusal of an incomplete one.

After NIST SP 800-226 (2025), Ponomareva et al. 2023 (arXiv 2303.00654, section 5.3) and the OpenDP deployment
registry (arXiv 2509.13509).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedcore.errors import PrivacyError
from fedcore.text.toml_problems import explain

STATEMENT_VERSION = 2

Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[list[Text], Field(min_length=1)]
Group = Annotated[dict[str, Any], Field(min_length=1)]


class _Part(BaseModel):
    """A group of fields: those that the words need, and any others."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow", allow_inf_nan=False)


class Unit(_Part):
    name: Literal["record", "client"]
    definition: Text


class Relation(_Part):
    name: Text
    definition: Text


class Isolation(_Part):
    name: Literal["proven", "isolated", "probed"]
    definition: Text


class Person(_Part):
    max_records: int | None
    epsilon: float | None


class AttackBounds(_Part):
    tpr_at_fpr_1_percent: float
    tpr_at_fpr_0_1_percent: float


class Scope(_Part):
    covers: Text


class Worded(_Part):
    words: Text


class Statement(_Part):
    """The content of ``privacy.json``; a field without a default is required for a release."""

    model_config = ConfigDict(extra="forbid")

    statement_version: int
    model_sha256: Text
    generated_by: Group
    run: dict[str, Any] | None = None
    valid: bool
    unit: Unit
    max_contribution: Worded
    person: Person | None = None
    neighbouring_relation: Relation
    delta_against_size: Text
    mechanism: Text
    clip_norm: float
    sensitivity: float
    noise_multiplier: float
    noise_std_released: float
    nominal_batch: float
    sampling: Group
    noise_location: Text
    steps: int
    protected_outputs: Texts
    protected_from: Texts
    unprotected_outputs: Texts
    public_quantities: list[Any] | None = None
    trust_model: Group
    numerics: str | None = None
    isolation: Isolation | None = None
    epsilon: Annotated[float, Field(ge=0.0)] | None
    delta: Annotated[float, Field(gt=0.0, lt=1.0)]
    profile: dict[str, Any] | None = None
    mu_gdp: float | None = None
    zcdp_rho: float | None = None
    attack_bounds: AttackBounds
    strength_tier: Literal["strong", "reasonable", "weak", "none"]
    rounds: int
    participations: int
    accountant: Group
    composition_scope: Scope
    hyperparameter_tuning: Worded
    preprocessing: Text
    public_data: str | None = None
    rng: Group
    verification: dict[str, Any] | None = None
    evaluation: Group
    known_deviations: list[str]
    contact: str | None = None
    plain_language: Text


def check_statement(content: Mapping[str, Any]) -> None:
    """Refuse a statement that lacks what a release needs, or is impossible; the `PrivacyError` names every field."""
    _check(content, "this privacy statement cannot be released with a model")


def read_statement(path: Path) -> dict[str, Any]:
    """Read a ``privacy.json``; raises `PrivacyError` if it cannot be read or is incomplete."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PrivacyError(f"{path} cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise PrivacyError(f"{path} is not JSON: {error}; expected the privacy.json of a run") from error
    if found == {}:
        raise PrivacyError(f"{path} is empty: the run promised no privacy, so there is nothing to explain")
    if not isinstance(found, dict) or "statement_version" not in found:
        raise PrivacyError(f"{path} is not a privacy statement; expected the privacy.json of a run")
    version = found["statement_version"]
    if version != STATEMENT_VERSION:
        raise PrivacyError(f"{path} has version {version!r} of the statement; expected {STATEMENT_VERSION}")
    _check(found, f"{path} is an incomplete privacy statement, so do not rely on it")
    return found


def _check(content: Mapping[str, Any], what: str) -> None:
    try:
        found = Statement.model_validate(content)
        problems = ["statement.epsilon: missing"] if found.valid and found.epsilon is None else []
    except ValidationError as error:
        problems = [explain("statement", Statement, each) for each in error.errors()]
    if problems:
        raise PrivacyError("\n  ".join([f"{what}:", *problems]))
