"""Policies and requests with defaults, for tests of the gate to be built from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fedcore.plan import RunPlan, merge
from fedcore_clients.policy.approvals import Approvals
from fedcore_clients.policy.request_facts import RequestFacts
from fedcore_clients.policy.request_gate import check_request
from fedcore_clients.policy.settings import Policy

ME = "north"
OPEN_POLICY: dict[str, Any] = {
    "tasks": {"allowed": ["digits"]},
    "data": {"allowed": {"digits": ["digits"], "wards": ["digits"], "archive": []}},
    "release": {"evaluation": ["loss", "accuracy"], "group-tables": ["stroke"], "training": ["loss"]},
}
PRIVATE_PLAN: dict[str, Any] = {
    "task": {"name": "digits", "data": "wards"},
    "federation": {"clients": 3, "rounds": 10},
    "privacy": {
        "unit": "record",
        "noise-multiplier": 4.0,
        "nominal-batch": 100.0,
        "sampling-rate": 0.5,
        "steps-per-round": 2,
    },
}


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, **how_far: float) -> None:
        self.now += timedelta(**how_far)


@dataclass(frozen=True)
class KnownNames:
    """A roster, as far as the gate asks it."""

    names: tuple[str, ...] = ("north", "south", "west")
    version: int = 3

    def member(self, name: str) -> str | None:
        return name if name in self.names else None


def build_policy(**sections: Mapping[str, Any]) -> Policy:
    return Policy.from_mapping(merge(OPEN_POLICY, sections))


def build_open_policy(**sections: Mapping[str, Any]) -> Policy:
    """One that does without privacy."""
    return build_policy(**merge({"privacy": {"required": False}}, sections))


def build_plan(**sections: Mapping[str, Any]) -> RunPlan:
    return RunPlan.from_mapping(merge(PRIVATE_PLAN, sections))


def build_bare_plan(**sections: Mapping[str, Any]) -> RunPlan:
    """One that promises no privacy."""
    bare = {name: section for name, section in PRIVATE_PLAN.items() if name != "privacy"}
    return RunPlan.from_mapping(merge(bare, sections))


def build_request(plan: RunPlan | None = None, **changes: Any) -> RequestFacts:
    values: dict[str, Any] = {
        "run": "first-run",
        "incarnation": 1,
        "round": 1,
        "attempt": 0,
        "kind": "train",
        "plan": plan or build_plan(),
        "cohort": ("north", "south"),
        "roster_version": 3,
        "model_dtype": "float32",
        "array_bytes": 4 * 5962,
    }
    return RequestFacts(**(values | changes))


def check(
    request: RequestFacts, policy: Policy | None = None, *, approvals: Approvals | None = None, today: int = 0
) -> None:
    check_request(
        request,
        policy=policy or build_policy(),
        roster=KnownNames(),
        me=ME,
        approvals=approvals or Approvals(Path("absent/approvals.json"), Clock()),
        requests_today=today,
    )
