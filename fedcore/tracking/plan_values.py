"""A plan as flat pairs of name and text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedcore.plan import RunPlan


def plan_values(plan: RunPlan) -> dict[str, str]:
    """Each value by its ``section.key``; tables inside are opened, lists are JSON."""
    return {
        path: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for path, value in flat(plan.to_mapping())
    }


def flat(mapping: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Each value of a plan's mapping with its ``section.key``; tables inside are opened."""
    for name, value in mapping.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value
