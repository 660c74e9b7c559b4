"""Writes ``docs/plan-reference.md`` from the plan's own classes.

Run ``python docs/plan_reference.py > docs/plan-reference.md``; a test holds the committed file equal to it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from fedcore.plan import DeviceKind, LimitSection, RunPlan

_HEAD = """\
<!-- Written by docs/plan_reference.py; change the sections in fedcore/plan and run it again. -->

# Plan reference

A plan is a TOML file that says all about a run. Every key has a default except where it says *required*, so a plan
holds what differs from the defaults. An unknown key or value is an error that names the nearest one known, and all
problems of the file are reported at once. What needs the task or its data (an optimizer's name, a limit's metric, a
partition's column) is checked next, before anything is trained or written.

The defaults below are those of a plan that leaves the key out. `fedcore simulate` without arguments runs
[simulations/scenarios/digits.toml](../simulations/scenarios/digits.toml), which sets many of them. Options override
the plan, and `--set section.key=value` sets any key of a section. The plan with every number filled in is
`plan.toml` in the run directory.

Contradictions between keys are refused as well:

- with `privacy.unit = "record"`, exactly one of `epsilon` and `noise-multiplier` is given;
- `privacy.relation = "add-remove"` needs `nominal-batch`;
- `federation.cohort-size` is at most `clients`, `quorum` is at most the cohort, and Poisson cohorts need a size;
- `audit.threshold` is a multiple of 1 / `score-bins`, and `limits` need an attribute in `sensitive`;
- a limit of kind `difference` takes `at-most`, one of kind `ratio` takes `at-least`.
"""
_TYPES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def main() -> None:
    """Print the page."""
    print(_HEAD)
    print("\n\n".join(_sections()))


def _sections() -> Iterator[str]:
    for name, field in RunPlan.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            yield _section(f"[{name}]", section)
        if name == "audit":
            yield _section("[[audit.limits]]", LimitSection)
        if name == "devices":
            yield _section("[devices.kinds.NAME]", DeviceKind)


def _section(title: str, section: type[BaseModel]) -> str:
    schema = section.model_json_schema(by_alias=True)
    lines = [f"## `{title}`", "", str(section.__doc__), "", "| key | type | default | meaning |", "|---|---|---|---|"]
    for key, field in schema["properties"].items():
        default = "*required*" if key in schema.get("required", ()) else _default(section, key)
        lines.append(f"| `{key}` | {_type(field)} | {default} | {field['description']} |")
    return "\n".join(lines)


def _default(section: type[BaseModel], key: str) -> str:
    field = section.model_fields[key.replace("-", "_")]
    value = field.get_default(call_default_factory=True)
    return "absent" if value is None else f"`{json.dumps(value)}`"


def _type(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"] if one.get("type") != "null")
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "$ref" in schema:
        return "tables, below"
    return _plain_type(schema)


def _plain_type(schema: dict[str, Any]) -> str:
    kind, values = schema["type"], schema.get("additionalProperties")
    if kind == "array":
        items = schema.get("prefixItems")
        return f"list of {len(items)}: {_type(items[0])}" if items else f"list of {_type(schema['items'])}"
    if kind == "object":
        return f"table of {_type(values)}" if isinstance(values, dict) else "table"
    bounds = [f"{sign} {schema[bound]:g}" for bound, sign in _BOUNDS.items() if bound in schema]
    return " ".join([_TYPES[kind], ", ".join(bounds)]).strip()


if __name__ == "__main__":
    main()
