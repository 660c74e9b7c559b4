"""Keys of earlier versions, and where they are now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MOVED = {
    "federation.weighting": 'aggregation.rule: "mean" for "examples", or "uniform"',
    "federation.transforms": "aggregation.encode",
    "federation.server-momentum": 'federation.server-optimizer = { name = "sgd", momentum = … }',
    "federation.server-betas": "the option betas of federation.server-optimizer",
    "federation.server-adaptivity": "the option adaptivity of federation.server-optimizer",
    "training.proximal-mu": 'algorithm.name = "fedprox:MU"',
    "mitigation.method": 'algorithm.name ("minimax" is "fedminmax")',
    "mitigation.attribute": "algorithm.options.attribute",
    "mitigation.metric": "algorithm.options.metric",
    "mitigation.strength": "an option in algorithm.options",
    "mitigation.checkpoint": "audit.checkpoint",
}


def without_moved(mapping: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A plan without the keys that have moved, and a sentence for each of them."""
    rest = {name: dict(value) if isinstance(value, Mapping) else value for name, value in mapping.items()}
    problems = []
    for path, now in _MOVED.items():
        section, key = path.split(".")
        if isinstance(rest.get(section), dict) and rest[section].pop(key, None) is not None:
            problems.append(f"{path} has moved; it is now {now}")
    if rest.pop("mitigation", None):
        problems.append('section [mitigation] has moved; it is now [algorithm], with name = "reweighing" or another')
    return rest, problems
