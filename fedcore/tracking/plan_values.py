"""A plan as flat pairs of name and text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedcore.plan import RunPlan


def plan_values(plan: RunPlan) -> dict[str, str]:
    """Each value by its ``section.key``; tables inside are opened, lists are JSON."""
    return dict(_flat("", plan.to_mapping()))


def _flat(above: str, mapping: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in mapping.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{above}{name}.", value)
        else:
            yield f"{above}{name}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
