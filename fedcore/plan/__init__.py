"""The whole run as one frozen, hashable value, read from TOML.

Every section is a class whose fields are the plan's keys in kebab-case; `docs/plan-reference.md` is checked
against them.
"""

from __future__ import annotations

from fedcore.plan.audit_sections import AuditSection, LimitSection
from fedcore.plan.devices.section import DeviceKind, DevicesSection
from fedcore.plan.host_sections import EngineSection, RunSection
from fedcore.plan.reading import merge, read_toml
from fedcore.plan.run_plan import RunPlan
from fedcore.plan.sections import (
    AggregationSection,
    AlgorithmSection,
    FederationSection,
    PrivacySection,
    TaskSection,
    TrainingSection,
)

__all__ = [
    "AggregationSection",
    "AlgorithmSection",
    "AuditSection",
    "DeviceKind",
    "DevicesSection",
    "EngineSection",
    "FederationSection",
    "LimitSection",
    "PrivacySection",
    "RunPlan",
    "RunSection",
    "TaskSection",
    "TrainingSection",
    "merge",
    "read_toml",
]
