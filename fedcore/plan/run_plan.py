"""A plan as one value."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedcore.errors import PlanError
from fedcore.plan.audit_sections import AuditSection
from fedcore.plan.contradictions import contradictions
from fedcore.plan.devices.section import DevicesSection
from fedcore.plan.digest import digest_of
from fedcore.plan.host_sections import EngineSection, RunSection
from fedcore.plan.moved import without_moved
from fedcore.plan.reading import check_is_plan, read_toml
from fedcore.plan.section import Section
from fedcore.plan.sections import (
    SECTIONS,
    AggregationSection,
    AlgorithmSection,
    FederationSection,
    PrivacySection,
    TaskSection,
    TrainingSection,
)
from fedcore.text.toml_problems import explain, unknown

_OWN = ("engine", "run")


class RunPlan(BaseModel):
    """A whole run. Build it with `RunPlan.from_mapping` or `RunPlan.from_toml`, which report all errors at once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: TaskSection = Field(default_factory=TaskSection)
    federation: FederationSection = Field(default_factory=FederationSection)
    algorithm: AlgorithmSection = Field(default_factory=AlgorithmSection)
    aggregation: AggregationSection = Field(default_factory=AggregationSection)
    training: TrainingSection = Field(default_factory=TrainingSection)
    privacy: PrivacySection = Field(default_factory=PrivacySection)
    audit: AuditSection = Field(default_factory=AuditSection)
    devices: DevicesSection = Field(default_factory=DevicesSection)
    engine: EngineSection = Field(default_factory=EngineSection)
    run: RunSection = Field(default_factory=RunSection)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> RunPlan:
        """Validate nested mappings with kebab-case keys; the `PlanError` lists every problem in every section."""
        check_is_plan(mapping)
        mapping, problems = without_moved(mapping)
        problems += [unknown(name, SECTIONS, "section") for name in mapping if name not in SECTIONS]
        sections: dict[str, Section] = {}
        for name, section in SECTIONS.items():
            try:
                sections[name] = section.model_validate(mapping.get(name, {}))
            except ValidationError as error:
                problems += [explain(name, section, problem) for problem in error.errors()]
        problems += contradictions(sections)
        if problems:
            raise PlanError(problems)
        return cls.model_validate(sections)

    @classmethod
    def from_toml(cls, path: Path | str) -> RunPlan:
        return cls.from_mapping(read_toml(Path(path)))

    def updated(self, **sections: Mapping[str, Any]) -> RunPlan:
        """A plan with some keys of some sections replaced; checked again."""
        mapping = self.to_mapping()
        for name, changes in sections.items():
            mapping[name] = {**mapping[name], **changes}
        return RunPlan.from_mapping(mapping)

    def to_mapping(self) -> dict[str, Any]:
        """Nested dictionaries of plain values with kebab-case keys, without absent values."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def to_shared(self) -> dict[str, Any]:
        """As `to_mapping`, without what is this host's own affair: how fast a run is, and who follows it."""
        shared = {name: section for name, section in self.to_mapping().items() if name not in _OWN}
        for path in ("start-from", "test-data"):  # where the rounds are driven; the first has a hash that is shared
            shared["task"].pop(path, None)
        shared["devices"].pop("profiles", None)  # a path, or a name; the kinds that it stands for are shared
        if not self.devices.simulated:
            del shared["devices"]
        return shared

    def to_toml(self) -> str:
        """The plan as TOML, every key written out."""
        import tomli_w

        return tomli_w.dumps(self.to_mapping())

    @property
    def sha256(self) -> str:
        """Hash of what the plan says, the same for every spelling of it."""
        return digest_of(self.to_shared())
