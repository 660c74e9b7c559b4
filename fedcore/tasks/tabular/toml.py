"""A schema as TOML for people to read and correct, and as content of a plan."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fedcore.errors import DataError
from fedcore.tasks.tabular.columns import Binary, Categorical, Column, Ignored, Numeric, Schema
from fedcore.tasks.tabular.draft import Draft
from fedcore.text.toml_problems import unknown

_WHEN_PUBLIC = "true once every category and range comes from public knowledge, and none from private rows"
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_KINDS: dict[str, type[Numeric | Categorical | Binary | Ignored]] = {
    "numeric": Numeric,
    "categorical": Categorical,
    "binary": Binary,
    "ignored": Ignored,
}
_EXPECTED = {
    "columns": "a section [columns.NAME] for each column",
    "range": "[low, high]",
    "scale": "linear or log",
    "bands": "a list of numbers",
    "categories": "a list of texts",
    "classes": "a list of two or more different texts",
    "use": "true or false",
    "public": "true or false",
    "column": "the name of a column",
    "name": "a text",
    "label": "column = NAME and classes = [...]",
}


def schema_to_toml(draft: Draft, *, header: str = "") -> str:
    lines = [header] if header else []
    lines += ["public = " + ("true" if draft.schema.public else f"false  # {_WHEN_PUBLIC}"), ""]
    if draft.schema.label is not None:
        label = draft.schema.label
        comment = "  # of two classes the second is the positive one" if len(label.classes) == 2 else ""
        lines += ["[label]", f"column = {_toml(label.name)}", f"classes = {_toml(label.classes)}{comment}", ""]
    for column in draft.schema.columns:
        reason = draft.reasons.get(column.name)
        lines += [f"[columns.{_key(column.name)}]", *_column_lines(column, f"  # it {reason}" if reason else ""), ""]
    return "\n".join(lines)


def read_schema(path: Path) -> Schema:
    """Read a schema file.

    Raises:
        DataError: The file is missing or not TOML, or has unknown keys, kinds or values; lists all problems.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"no schema at {path}; expected a TOML file, such as fedcore schema FILE writes") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"the schema {path} cannot be read: {error}") from error
    return schema_of(content, source=path.name)


def schema_of(content: Mapping[str, Any], *, source: str) -> Schema:
    """The schema of a file's content, or of what `schema_content` gave.

    Raises:
        DataError: Lists all problems.
    """
    columns = content.get("columns", {})
    if isinstance(columns, Mapping):  # in a file, each column is a section
        named = [(name, keys if isinstance(keys, Mapping) else {}) for name, keys in columns.items()]
        refuse(source, [f"[columns.{name}] unknown key: 'name'" for name, keys in named if "name" in keys])
        columns = [{"name": name, **keys} for name, keys in named]
    try:
        return Schema.model_validate({**content, "columns": columns}, by_alias=True, by_name=False)
    except ValidationError as error:
        refuse(source, [_in_words(problem, columns) for problem in error.errors()])
        raise


def schema_content(schema: Schema) -> dict[str, Any]:
    """A schema as plain values, the same for every spelling of it.

    Columns are a list: their order is that of a model's inputs, and a JSON object has none.
    """
    columns = [
        {"name": column.name, **tomllib.loads("\n".join(_column_lines(column, "")))} for column in schema.columns
    ]
    label = {} if schema.label is None else {"label": {"column": schema.label.name, "classes": [*schema.label.classes]}}
    return {"public": schema.public, **label, "columns": columns}


def _in_words(problem: Any, columns: Any) -> str:
    kind, loc, found = problem["type"], list(problem["loc"]), problem["input"]
    section, known, what = "", ["public", "label", "columns"], "section"
    if loc[0] == "label" and len(loc) > 1:
        section, known, what, loc = "[label] ", ["column", "classes"], "key in [label]", loc[1:]
    elif loc[0] == "columns" and len(loc) > 1:
        column, loc = columns[loc[1]], loc[2:]
        section = f"[columns.{column['name'] if isinstance(column, Mapping) and 'name' in column else ''}] "
        if kind == "union_tag_not_found":
            return f"{section}kind is missing; one of {', '.join(_KINDS)}"
        if kind == "union_tag_invalid":
            return section + unknown(str(column["kind"]), _KINDS, "kind")
        if not loc:
            return f'{section}expected keys such as kind = "numeric"'
        known, what, loc = [*_KINDS[loc[0]].model_fields], f"key for kind {loc[0]}", loc[1:]
    if kind == "extra_forbidden":
        return section + unknown(str(loc[0]), known, what)
    if kind == "value_error":
        return f"{section}{loc[0]}: {problem['ctx']['error']}"
    return f"{section}{loc[0]}: expected {_EXPECTED[loc[0]]}, found {None if kind == 'missing' else found!r}"


def _column_lines(column: Column, comment: str) -> list[str]:
    keys = column.model_dump(exclude={"name"})
    first, *lines = [f"{key} = {_toml(value)}" for key, value in keys.items() if value not in ((), True)]
    return [first + comment, *lines]


def _toml(value: Any) -> str:
    """A value as TOML; its texts are JSON's except for the delete character."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return f"[{', '.join(_toml(item) if isinstance(item, str) else _number(item) for item in value)}]"


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _toml(name)


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def refuse(source: str, problems: Collection[str]) -> None:
    if problems:
        raise DataError("\n".join(f"schema {source}: {problem}" for problem in problems))
