"""From the options of a command line to a plan."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedcore.errors import PlanError
from fedcore.method.names import check_names
from fedcore.plan import RunPlan, merge, read_toml
from fedcore.tasks.registry import check_early, makes_clients
from fedcore.tracking.registry import check_tracker
from fedcore_simulations.engines.registry import check_engine
from fedcore_simulations.partition.registry import PARTITIONERS
from fedcore_simulations.scenarios import DEFAULT, find_scenario, scenarios


def plan_from_options(subject: str | None, options: Mapping[str, Any], settings: Sequence[str]) -> RunPlan:
    """Lay options over the plan that `subject` names, and check the whole.

    Args:
        subject: A scenario, a plan file, ``module:object`` of a task, or nothing for the default.
        options: Values by ``section.key``; ``None`` is not given.
        settings: ``section.key=value`` texts; later ones win, and win over `options`.

    Raises:
        PlanError: All that is wrong.
        TaskError: There is no such reference task.
    """
    mapping = base_mapping(subject)
    _shrink_cohort(mapping.get("federation", {}), options.get("federation.clients"))
    given = {path: value for path, value in options.items() if value is not None}
    for path, value in given.items():
        mapping = merge(mapping, nested(path.split("."), value))
    plan = checked_plan(with_settings(mapping, settings))
    column = plan.federation.partition_column
    if "federation.clients" in given and column and ("clients" in plan.task.options or not makes_clients(plan)):
        raise PlanError(f"--clients: by:{column} makes a client of each value; leave --clients out")
    return plan


def with_settings(mapping: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """Lay ``section.key=value`` texts over a plan's mapping; raises `PlanError` where one is not written so."""
    parsed = [read_setting(setting) for setting in settings]
    if {"epsilon", "noise-multiplier"} <= {key for each in parsed for key in each.get("privacy", {})}:
        raise PlanError("--set: expected one of privacy.epsilon (a target) and privacy.noise-multiplier, found both")
    merged = dict(mapping)
    for setting in parsed:
        merged = merge(merged, setting)
    return merged


def checked_plan(mapping: Mapping[str, Any]) -> RunPlan:
    """The plan, and every name in it known; nothing heavy is imported.

    Raises:
        PlanError: All that is wrong.
        TaskError: There is no such task.
        DataError: There is no such table.
    """
    plan = RunPlan.from_mapping(mapping)
    check_early(plan)
    check_engine(plan.engine.name)
    PARTITIONERS.make(plan.federation.partition)
    check_names(plan)
    for tracker in plan.run.track:
        check_tracker(tracker)
    return plan


def _shrink_cohort(federation: dict[str, Any], clients: int | None) -> None:
    """A scenario asks a part of its clients in a round; of fewer clients than that, all."""
    if clients is not None and federation.get("cohort-size", 0) > clients and "cohort-sampling" not in federation:
        del federation["cohort-size"]


def base_mapping(subject: str | None) -> dict[str, Any]:
    """The plan that a subject names, unchecked: a plan file, a scenario, or a task of your own."""
    if subject is None:
        return read_toml(find_scenario(DEFAULT))
    if subject.endswith(".toml") or (Path(subject).is_file() and not subject.endswith(".py")):
        return read_toml(Path(subject))
    if ":" in subject:
        return {"task": {"name": subject}}
    if subject not in scenarios() and (Path(subject) / "plan.toml").is_file():
        raise PlanError(f"{subject} is the directory of a run; its plan is {Path(subject) / 'plan.toml'}")
    return read_toml(find_scenario(subject))


def read_setting(setting: str) -> dict[str, Any]:
    path, separator, text = setting.partition("=")
    keys = path.strip().split(".")
    if not separator or len(keys) < 2 or not all(keys):
        raise PlanError(f"--set: expected section.key=value, found {setting!r}")
    return nested(keys, value_of(text))


def value_of(text: str) -> Any:
    """A value as TOML reads it; a bare word is a text: ``federation.server-optimizer=adam``."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()


def nested(keys: Sequence[str], value: Any) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    made: dict[str, Any] = value
    return made
