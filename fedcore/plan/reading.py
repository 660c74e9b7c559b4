"""Plans as nested mappings: read from files, and merged."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedcore.errors import PlanError
from fedcore.plan.sections import SECTIONS
from fedcore.text.toml_problems import nearest

_MOST_NAMES = 8
POLICY_ONLY = frozenset({"tasks", "data", "cohort", "release", "limits", "approval"})
"""Tables that a client's policy has and a plan has not."""


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; raises `PlanError` if it is absent, unreadable or invalid."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PlanError(f"no plan at {path}; expected a TOML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"the plan {path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"the plan {path} is not TOML: {error}") from error


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested mappings; `above` wins key by key.

    Target ε and noise multiplier are two ways to set one thing: setting one above removes the other below.
    """
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        merged[name] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    for one, other in (("epsilon", "noise-multiplier"), ("noise-multiplier", "epsilon")):
        if one in above and other not in above:
            merged.pop(other, None)
    return merged


def check_is_plan(mapping: Mapping[str, Any]) -> None:
    """Refuse a mapping that is something else with one `PlanError`, before each of its keys is reported."""
    foreign = [name for name in mapping if name not in SECTIONS]
    if foreign and set(foreign) <= POLICY_ONLY and not {"task", "federation", "audit", "engine", "run"} & set(mapping):
        raise PlanError(
            f"this is a client's policy and no plan (it has {_tables(foreign)}); check it with: "
            "fedcore client policy --check FILE"
        )
    strange = [name for name in foreign if nearest(name, SECTIONS) is None]
    if 2 * len(strange) > len(mapping):
        raise PlanError(f"this is not a plan: it has {_tables(strange)}; known are {', '.join(SECTIONS)}")


def _tables(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_MOST_NAMES])
    return shown if len(names) <= _MOST_NAMES else f"{shown} and {len(names) - _MOST_NAMES} more"
