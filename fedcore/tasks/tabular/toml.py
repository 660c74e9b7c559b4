"""A schema as TOML that a person can read and correct, and as the content that a plan holds."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from fedcore.errors import DataError
from fedcore.tasks.tabular.columns import Binary, Categorical, Column, Ignored, Label, Numeric, Schema
from fedcore.tasks.tabular.draft import Draft

_WHEN_PUBLIC = "true once every category and range comes from public knowledge, and none from private rows"
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_KEYS: dict[str, tuple[str, ...]] = {
    "numeric": ("range", "scale", "bands", "use"),
    "categorical": ("categories", "use"),
    "binary": ("categories", "use"),
    "ignored": (),
}


def schema_to_toml(draft: Draft, *, header: str = "") -> str:
    """Write a schema so that `read_schema` gives it back."""
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
        DataError: The file is absent or no TOML, or holds unknown keys, kinds or values; tells all problems.
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

    Args:
        source: What errors call it.

    Raises:
        DataError: Tells all problems.
    """
    known = ("public", "label", "columns")
    problems: list[str] = [_unknown(key, known, "section") for key in content if key not in known]
    public = content.get("public", False)
    if not isinstance(public, bool):
        problems.append(f"public: expected true or false, found {public!r}")
    label = _read_label(content.get("label"), problems)
    columns = _read_columns(content.get("columns", {}), problems)
    refuse(source, problems)
    return Schema(columns=columns, label=label, public=bool(public))


def schema_content(schema: Schema) -> dict[str, Any]:
    """A schema as plain values, the same for every spelling of it.

    Columns are a list: their order is that of a model's inputs, and a table of JSON has none.
    """
    columns = [
        {"name": column.name, **tomllib.loads("\n".join(_column_lines(column, "")))} for column in schema.columns
    ]
    label = {} if schema.label is None else {"label": {"column": schema.label.name, "classes": [*schema.label.classes]}}
    return {"public": schema.public, **label, "columns": columns}


def _read_label(content: Any, problems: list[str]) -> Label | None:
    if content is None:
        return None
    if not isinstance(content, Mapping) or not isinstance(content.get("column"), str):
        problems.append("[label]: expected column = NAME and classes = [...]")
        return None
    problems += [
        _unknown(key, ("column", "classes"), "key in [label]") for key in content.keys() - {"column", "classes"}
    ]
    classes = content.get("classes")
    if not _is_list_of(classes, str) or len(set(classes)) != len(classes) or len(classes) < 2:
        problems.append(f"[label] classes: expected a list of two or more different texts, found {classes!r}")
        return None
    return Label(name=content["column"], classes=tuple(classes))


def _read_columns(content: Any, problems: list[str]) -> tuple[Column, ...]:
    if isinstance(content, list) and all(isinstance(keys, Mapping) for keys in content):
        named = [(keys.get("name"), {key: keys[key] for key in keys if key != "name"}) for keys in content]
    elif isinstance(content, Mapping):
        named = list(content.items())
    else:
        problems.append("[columns]: expected a section [columns.NAME] for each column")
        return ()
    names = [name for name, _ in named]
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        problems.append("[columns]: expected a different name for each column")
        return ()
    columns = []
    for name, keys in named:
        found = [f"[columns.{name}] {problem}" for problem in _key_problems(keys)]
        if not found:
            column = _READERS[keys["kind"]](name, keys)
            found = [f"[columns.{name}] {problem}" for problem in column.problems()]
            columns.append(column)
        problems += found
    return tuple(columns)


def _key_problems(keys: Any) -> Iterator[str]:
    """What is wrong with the keys of a column, before it can be built."""
    if not isinstance(keys, Mapping):
        yield 'expected keys such as kind = "numeric"'
        return
    kind = keys.get("kind")
    if kind not in _KEYS:
        yield (
            _unknown(str(kind), tuple(_KEYS), "kind")
            if kind is not None
            else f"kind is missing; one of {', '.join(_KEYS)}"
        )
        return
    yield from (
        _unknown(key, ("kind", *_KEYS[kind]), f"key for kind {kind}")
        for key in keys
        if key not in ("kind", *_KEYS[kind])
    )
    ends = keys.get("range")
    if kind == "numeric" and not (_is_list_of(ends, int, float) and len(ends) == 2):
        yield f"range: expected [low, high], found {ends!r}"
    if keys.get("scale", "linear") not in ("linear", "log"):
        yield f"scale: expected linear or log, found {keys['scale']!r}"
    if not _is_list_of(keys.get("bands", []), int, float):
        yield f"bands: expected a list of numbers, found {keys['bands']!r}"
    if kind in ("categorical", "binary") and not _is_list_of(keys.get("categories"), str):
        yield f"categories: expected a list of texts, found {keys.get('categories')!r}"
    if not isinstance(keys.get("use", True), bool):
        yield f"use: expected true or false, found {keys['use']!r}"


_READERS: dict[str, Callable[[str, Mapping[str, Any]], Column]] = {
    "numeric": lambda name, keys: Numeric(
        name=name,
        low=float(keys["range"][0]),
        high=float(keys["range"][1]),
        scale=keys.get("scale", "linear"),
        bands=tuple(float(edge) for edge in keys.get("bands", ())),
        use=keys.get("use", True),
    ),
    "categorical": lambda name, keys: Categorical(
        name=name, categories=tuple(keys["categories"]), use=keys.get("use", True)
    ),
    "binary": lambda name, keys: Binary(name=name, categories=tuple(keys["categories"]), use=keys.get("use", True)),
    "ignored": lambda name, keys: Ignored(name=name),
}


def _column_lines(column: Column, comment: str) -> Iterator[str]:
    yield f'kind = "{type(column).__name__.lower()}"{comment}'
    if isinstance(column, Numeric):
        yield f"range = {_toml((column.low, column.high))}"
        yield f'scale = "{column.scale}"'
        if column.bands:
            yield f"bands = {_toml(column.bands)}"
    elif isinstance(column, Categorical | Binary):
        yield f"categories = {_toml(column.categories)}"
    if not column.use and not isinstance(column, Ignored):
        yield "use = false"


def _toml(value: str | Collection[str] | Collection[float]) -> str:
    """A value as TOML; its texts are JSON's but for the delete character."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return f"[{', '.join(_toml(item) if isinstance(item, str) else _number(item) for item in value)}]"


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _toml(name)


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def _is_list_of(value: Any, *kinds: type) -> TypeGuard[list[Any]]:
    return isinstance(value, list) and all(isinstance(item, kinds) and not isinstance(item, bool) for item in value)


def _unknown(name: str, known: Collection[str], what: str) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"unknown {what}: {name!r}; " + (f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}")


def refuse(source: str, problems: Collection[str]) -> None:
    """Raise `DataError` with all problems of a schema, if there are any."""
    if problems:
        raise DataError("\n".join(f"schema {source}: {problem}" for problem in problems))
