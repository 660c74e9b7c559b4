"""The commented policy file that a data owner starts from, written from the policy's own fields."""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from fedcore_clients.policy.settings import SECTIONS

_WIDTH = 100
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_HEAD = """\
What may be requested of this client, and what may leave it. It is yours: no message can change it.

A request that asks for more is refused with a code of one word; it is never adjusted silently, and the reason stays
in this client's own log. {state} Check your changes with: fedcore client policy --check policy.toml"""

_NOTHING_ALLOWED = """\
Below are the defaults, under which nothing is trained: list in [tasks] and [data] what may be used, and in [release]
what may be released."""
_SOME_ALLOWED = (
    "Allowed is what [tasks] and [data] list; what may be released is in [release]. The rest are the defaults."
)


def policy_template(changes: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """A policy as TOML, each key under a comment that explains it.

    Args:
        changes: What differs from the defaults, by section and key.
    """
    changes = changes or {}
    lines = [*_comment(_HEAD.format(state=_SOME_ALLOWED if changes else _NOTHING_ALLOWED))]
    for name, section in SECTIONS.items():
        lines += _table(name, section, changes.get(name, {}))
    return "\n".join(lines) + "\n"


def _table(name: str, section: type[BaseModel], changes: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield ""
    yield from _comment(inspect.cleandoc(section.__doc__ or ""))
    yield f"[{name}]"
    nested = []
    for field in section.model_fields.values():
        if _is_table(field):
            nested.append(field)
        else:
            yield from _key(field, changes)
    for field in nested:
        yield from _table(f"{name}.{field.alias}", _model(field), changes.get(str(field.alias), {}))


def _key(field: FieldInfo, changes: Mapping[str, Any]) -> Iterator[str]:
    value = changes.get(str(field.alias), field.get_default(call_default_factory=True))
    yield ""
    yield from _comment(field.description or "")
    if value is None:
        example = (field.examples or [0])[0]
        yield f"# {field.alias} = {json.dumps(example)}  # absent: no limit"
    else:
        yield f"{field.alias} = {_toml(value)}"


def _toml(value: Any) -> str:
    """A value on one line; a table inline, since every list and text of JSON is one of TOML."""
    if not isinstance(value, Mapping):
        return json.dumps(value, ensure_ascii=False)
    entries = (f"{name if _BARE_KEY.fullmatch(name) else json.dumps(name)} = {_toml(v)}" for name, v in value.items())
    return f"{{ {', '.join(entries)} }}" if value else "{}"


def _is_table(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def _model(field: FieldInfo) -> type[BaseModel]:
    model: type[BaseModel] = field.annotation  # type: ignore[assignment]
    return model


def _comment(text: str) -> Iterator[str]:
    for paragraph in text.split("\n\n"):
        joined = " ".join(paragraph.split())
        yield from (f"# {line}" for line in textwrap.wrap(joined, _WIDTH, break_on_hyphens=False))
