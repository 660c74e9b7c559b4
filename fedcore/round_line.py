"""A line of ``rounds.jsonl``, read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_FIGURES = (
    "epsilon",
    "learning_rate",
    "update_norm",
    "clip_norm",
    "bytes_sent",
    "bytes_received",
    "wall_seconds",
    "simulated_seconds",
    "simulated_clock",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstGroup:
    """The group served worst.

    Attributes:
        name: Attribute and group.
        value: Its accuracy, or where targets are numbers its mean absolute error.
    """

    name: str
    value: float


def worst_group(line: Mapping[str, Any]) -> WorstGroup | None:
    """The group of the lowest accuracy or the greatest error; ``None`` where none may be shown."""
    known = [
        WorstGroup(name=f"{attribute} {group}", value=rate["value"])
        for attribute, groups in line["groups"].items()
        for group, rate in groups.items()
        if rate["value"] is not None
    ]
    worse = max if line.get("group_metric") == "mean_absolute_error" else min
    return worse(known, key=lambda group: group.value) if known else None


def figures_of(line: Mapping[str, Any]) -> dict[str, float]:
    """Every number of a round that makes a curve, by name; those that are absent or not finite are left out."""
    worst = worst_group(line)
    found = {
        **{f"evaluation/{name}": value for name, value in (line["evaluation"] or {}).items()},
        **{f"training/{name}": value for name, value in line["training"].items()},
        **{name: line.get(name) for name in _FIGURES},
        "counted": len(line["counted"]),
        "worst_group": worst.value if worst else None,
    }
    return {name: float(value) for name, value in found.items() if value is not None and math.isfinite(value)}
