"""The policy of an owner who allows tasks by name: a short one to start from, which trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedcore.plan.digest import digest_of
from fedcore.tasks.registry import check_known
from fedcore_clients.policy.settings import Policy

_METRICS = ("loss", "accuracy")
_OF_NUMBERS = {"diabetes-progression": ("loss", "mean_absolute_error")}
"""Metrics of the reference tasks with numeric targets; the others have ``_METRICS``."""
_GROUPS = {
    "digits": ("stroke",),
    "diabetes": ("sex", "age"),
    "diabetes-progression": ("sex", "age"),
    "synthetic": ("client",),
}
"""The attributes of the reference tasks that include their data."""


def allowing(
    tasks: Sequence[str], *, groups: Sequence[str] = (), schema: Path | None = None
) -> Mapping[str, Mapping[str, Any]]:
    """The keys that differ from the defaults: each task on a data set of its own name, and what it may release.

    Args:
        groups: Attributes by which counts may be released, besides those of the reference tasks.
        schema: File of a table schema that the owner has read.

    Raises:
        PlanError: A name can be no task's or no data set's.
        TaskError: There is no such reference task.
        DataError: The schema cannot be read.
    """
    names = list(dict.fromkeys(tasks))
    if not names:
        return {}
    options = {"options": {"tabular": ["schema", "hidden"]}} if "tabular" in names else {}
    changes: dict[str, dict[str, Any]] = {
        "tasks": {"allowed": names, **options, **_schemas(schema)},
        "data": {"allowed": {name: [name] for name in names}},
        "release": {"evaluation": _metrics(names), **_tables(names, groups)},
    }
    Policy.from_mapping(changes)
    for name in names:
        check_known(name)
    return changes


def allowed_in_words(tasks: Sequence[str], groups: Sequence[str] = ()) -> str:
    words = {"group-tables": "counts", "error-sums": "sums of errors"}
    groups = [f"{words[key]} by {name}" for key, listed in _tables(tasks, groups).items() for name in listed]
    released = ", ".join([*_metrics(tasks), *groups])
    return f"{', '.join(tasks)} may be trained with privacy; an evaluation releases {released}"


def _metrics(tasks: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(metric for task in tasks for metric in _OF_NUMBERS.get(task, _METRICS)))


def _schemas(schema: Path | None) -> dict[str, Any]:
    if schema is None:
        return {}
    from fedcore.tasks.tabular.toml import read_schema, schema_content

    return {"schemas": [digest_of(schema_content(read_schema(schema)))]}


def _tables(tasks: Sequence[str], groups: Sequence[str]) -> dict[str, list[str]]:
    """The attributes by which counts, or sums of numbers, may leave."""
    found: dict[str, dict[str, None]] = {"group-tables": dict.fromkeys(groups), "error-sums": {}}
    for task in tasks:
        key = "error-sums" if task in _OF_NUMBERS else "group-tables"
        found[key] |= dict.fromkeys(_GROUPS.get(task, ()))
    return {key: list(names) for key, names in found.items() if names or key == "group-tables"}
