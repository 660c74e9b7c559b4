"""The commented policy file that a data owner starts from, written from the policy's own fields."""

from __future__ import annotations

import inspect
import json
import textwrap
from collections.abc import Iterator

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from fedcore_clients.policy.settings import SECTIONS

_WIDTH = 100
_HEAD = """\
What this client may be asked for, and what may leave it. It is yours: no message can change it.

A request that asks for more is refused with a code of one word; it is never adjusted in silence, and the reason stays
in this client's own log. Below are the defaults, under which nothing is trained: list in [tasks] and [data] what may
be used, and in [release] what may be told. Check your changes with: fedcore client policy --check policy.toml"""


def policy_template() -> str:
    """The defaults as TOML, each key under a comment that says what it means."""
    lines = [*_comment(_HEAD)]
    for name, section in SECTIONS.items():
        lines += _table(name, section)
    return "\n".join(lines) + "\n"


def _table(name: str, section: type[BaseModel]) -> Iterator[str]:
    yield ""
    yield ""
    yield from _comment(inspect.cleandoc(section.__doc__ or ""))
    yield f"[{name}]"
    nested = []
    for field in section.model_fields.values():
        if _is_table(field):
            nested.append(field)
        else:
            yield from _key(field)
    for field in nested:
        yield from _table(f"{name}.{field.alias}", _model(field))


def _key(field: FieldInfo) -> Iterator[str]:
    default = field.get_default(call_default_factory=True)
    yield ""
    yield from _comment(field.description or "")
    if default is None:
        example = (field.examples or [0])[0]
        yield f"# {field.alias} = {json.dumps(example)}  # absent: no limit"
    else:
        yield f"{field.alias} = {json.dumps(default, ensure_ascii=False)}"


def _is_table(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def _model(field: FieldInfo) -> type[BaseModel]:
    model: type[BaseModel] = field.annotation  # type: ignore[assignment]
    return model


def _comment(text: str) -> Iterator[str]:
    for paragraph in text.split("\n\n"):
        joined = " ".join(paragraph.split())
        yield from (f"# {line}" for line in textwrap.wrap(joined, _WIDTH, break_on_hyphens=False))
