"""Plug-ins: objects named ``module:object``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from fedcore.errors import TaskError


def load_object(reference: str, *, what: str) -> Any:
    """Import the object that ``module:object`` names; the working directory is searched as by ``python -m``.

    Raises:
        TaskError: The reference is malformed, the module cannot be imported, or it has no such object.
    """
    module_name, separator, attribute = reference.partition(":")
    if not (module_name and separator and attribute):
        raise TaskError(f"expected {what} as 'module:object', found {reference!r}")
    search_working_directory()
    try:
        loaded: Any = importlib.import_module(module_name)
    except Exception as error:
        raise TaskError(
            f"{what} {reference!r}: module {module_name!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    for part in attribute.split("."):
        if not hasattr(loaded, part):
            raise TaskError(f"{what} {reference!r}: module {module_name!r} has no {attribute!r}")
        loaded = getattr(loaded, part)
    return loaded


def search_working_directory() -> None:
    """Let modules of the working directory be found, before those that are installed."""
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
