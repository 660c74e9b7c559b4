"""Problems of a plan or a policy in words: where, what was expected, what was found."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, get_args

from pydantic import BaseModel

_WORDS = {"Input should be": "expected", "Field required": "missing"}
_NO_TABLE = {"dict_type", "model_type", "model_attributes_type"}


def kebab(name: str) -> str:
    return name.replace("_", "-")


def explain(section: str, model: type[BaseModel], problem: Any) -> str:
    """Turn one of pydantic's errors for the section that `model` reads into a sentence."""
    keys: list[str | int] = list(problem["loc"])
    if problem["type"] == "extra_forbidden":
        inside, nested = _nested(section, model, keys[:-1])
        return unknown(str(keys[-1]), _keys(nested), f"key in [{inside}]")
    message, found = problem["msg"], ""
    for old, new in _WORDS.items():
        message = message.replace(old, new)
    if problem["input"] in ("", [], {}) and problem["type"].endswith("too_short"):
        message = "empty"
    elif problem["type"] in _NO_TABLE:
        message, found = "expected a table", f", found {problem['input']!r}"
    elif problem["type"] != "missing":
        found = f", found {problem['input']!r}"
    return f"{_place(section, keys)}: {message}{found}"


def unknown(name: str, known: Iterable[str], what: str) -> str:
    listed = list(known)
    near = nearest(name, listed)
    hint = f"known are {', '.join(listed)}" if near is None else f"did you mean {near!r}?"
    return f"unknown {what}: {name!r}; {hint}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name nearest to a misspelt one; ``None`` if none is similar."""
    return next(iter(difflib.get_close_matches(kebab(name), list(known), n=1, cutoff=0.5)), None)


def _place(section: str, keys: Sequence[str | int]) -> str:
    return section + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys if key != "[key]")


def _nested(section: str, model: type[BaseModel], keys: Sequence[str | int]) -> tuple[str, type[BaseModel]]:
    for key in keys:
        if isinstance(key, str):
            field = model.model_fields.get(key.replace("-", "_"))  # none where it is a name of the user's own
            inside = model if field is None else _model_in(field.annotation)
            section, model = (f"{section}.{key}", inside) if inside is not None else (section, model)
    return section, model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in get_args(annotation) if (found := _model_in(each)) is not None), None)


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]
