"""The data owner's policy as one frozen value, read from TOML; deny by default."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedcore.errors import PlanError
from fedcore.text.toml_problems import explain, kebab, unknown
from fedcore_clients.policy.sections import (
    ApprovalSection,
    CohortSection,
    DataSection,
    LimitsSection,
    PolicySection,
    PrivacySection,
    ReleaseSection,
    TasksSection,
    TrainingSection,
)

SECTIONS: dict[str, type[PolicySection]] = {
    "tasks": TasksSection,
    "data": DataSection,
    "training": TrainingSection,
    "cohort": CohortSection,
    "privacy": PrivacySection,
    "release": ReleaseSection,
    "limits": LimitsSection,
    "approval": ApprovalSection,
}


class Policy(BaseModel):
    """What a client may be asked for. Build it with `from_mapping` or `from_toml`, which report all errors at once.

    It is read only from a file of the data owner; no message can change it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tasks: TasksSection = Field(default_factory=TasksSection)
    data: DataSection = Field(default_factory=DataSection)
    training: TrainingSection = Field(default_factory=TrainingSection)
    cohort: CohortSection = Field(default_factory=CohortSection)
    privacy: PrivacySection = Field(default_factory=PrivacySection)
    release: ReleaseSection = Field(default_factory=ReleaseSection)
    limits: LimitsSection = Field(default_factory=LimitsSection)
    approval: ApprovalSection = Field(default_factory=ApprovalSection)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Policy:
        """Validate nested mappings with kebab-case keys.

        Raises:
            PlanError: Holds every problem in every section.
        """
        problems = [unknown(name, SECTIONS, "section") for name in mapping if name not in SECTIONS]
        sections: dict[str, PolicySection] = {}
        for name, section in SECTIONS.items():
            try:
                sections[name] = section.model_validate(mapping.get(name, {}))
            except ValidationError as error:
                problems += [explain(name, section, problem) for problem in error.errors()]
        problems += _contradictions(sections)
        if problems:
            raise PlanError(problems)
        return cls.model_validate(sections)

    @classmethod
    def from_toml(cls, path: Path | str) -> Policy:
        """Raises PlanError: The file is absent, no TOML, or holds problems; names all of them."""
        try:
            content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise PlanError(f"no policy at {path}; write one with: fedcore client policy --out {path}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise PlanError(f"the policy {path} cannot be read: {error}") from error
        except tomllib.TOMLDecodeError as error:
            raise PlanError(f"the policy {path} is not TOML: {error}") from error
        return cls.from_mapping(content)

    def to_mapping(self) -> dict[str, Any]:
        """Nested dictionaries of plain values with kebab-case keys, without absent values."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    @property
    def sha256(self) -> str:
        """Hash of the content, the same for every spelling of it."""
        return hashlib.sha256(json.dumps(self.to_mapping(), sort_keys=True).encode()).hexdigest()


def _contradictions(sections: Mapping[str, PolicySection]) -> Iterator[str]:
    tasks, data, training, privacy = (sections.get(name) for name in ("tasks", "data", "training", "privacy"))
    if isinstance(training, TrainingSection):
        yield from _empty_ranges(training)
    if isinstance(privacy, PrivacySection):
        yield from _privacy_contradictions(privacy)
    if isinstance(tasks, TasksSection):
        yield from _unlisted("tasks.options", tasks.options, tasks)
        if isinstance(data, DataSection):
            named = (task for granted in data.allowed.values() for task in granted)
            yield from _unlisted("data.allowed", named, tasks)


def _empty_ranges(training: TrainingSection) -> Iterator[str]:
    for name in ("rounds", "local_epochs", "batch_size", "steps_per_round", "learning_rate", "max_physical_batch"):
        yield from _empty_range(name, getattr(training, name))
    yield from _empty_range("held_out", training.held_out)


def _empty_range(name: str, bounds: tuple[float, float]) -> Iterator[str]:
    low, high = bounds
    if low > high:
        yield f"training.{kebab(name)}: expected [lowest, highest], found [{low}, {high}]"


def _privacy_contradictions(privacy: PrivacySection) -> Iterator[str]:
    if privacy.required and privacy.allow_test_noise:
        yield (
            "privacy.allow-test-noise: noise that the server knows protects nothing, and privacy.required asks for "
            "privacy; set required = false as well, or leave test noise out"
        )
    if privacy.required and not (privacy.units and privacy.relations and privacy.isolation):
        yield "privacy: units, relations and isolation need at least one entry each where privacy is required"


def _unlisted(key: str, names: Any, tasks: TasksSection) -> Iterator[str]:
    for name in dict.fromkeys(names):
        if name not in tasks.allowed:
            known = ", ".join(tasks.allowed) or "none"
            yield f"{key}: task {name!r} is not in tasks.allowed, which lists {known}"
