"""Problems of a policy file in words: where, what was expected, what was found."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel

_WORDS = {"Input should be": "expected", "Field required": "missing"}


def explain(section: str, model: type[BaseModel], problem: Any) -> str:
    """Turn one of pydantic's errors into a sentence.

    Args:
        section: Name of the section that `model` reads.
        problem: An entry of ``ValidationError.errors()``.
    """
    keys: list[str | int] = list(problem["loc"])
    if problem["type"] == "extra_forbidden":
        inside, nested = _nested(section, model, keys[:-1])
        return unknown(str(keys[-1]), _keys(nested), f"key in [{inside}]")
    message, found = problem["msg"], ""
    for old, new in _WORDS.items():
        message = message.replace(old, new)
    if problem["type"] != "missing":
        found = f", found {problem['input']!r}"
    return f"{_place(section, keys)}: {message}{found}"


def unknown(name: str, known: Iterable[str], what: str) -> str:
    """Say that a name is unknown, and which known one is near."""
    listed = list(known)
    near = difflib.get_close_matches(name.replace("_", "-"), listed, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(listed)}"
    return f"unknown {what}: {name!r}; {hint}"


def _place(section: str, keys: Sequence[str | int]) -> str:
    return section + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys if key != "[key]")


def _nested(section: str, model: type[BaseModel], keys: Sequence[str | int]) -> tuple[str, type[BaseModel]]:
    """The table that the last of `keys` opens: its name and its model."""
    for key in keys:
        field = model.model_fields[str(key).replace("-", "_")].annotation
        if isinstance(field, type) and issubclass(field, BaseModel):
            section, model = f"{section}.{key}", field
    return section, model


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]
