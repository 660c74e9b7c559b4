"""Checking the files of a home before use: all damaged ones are named at once, each with advice."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from fedcore.errors import DeploymentError, TrustError


@dataclass(frozen=True, slots=True, kw_only=True)
class NeededFile:
    """A file required at start; `read` raises `TrustError` or `DeploymentError` if it is damaged."""

    path: Path
    read: Callable[[], object]
    advice: str


def refuse_damaged(files: Iterable[NeededFile]) -> None:
    """Read every file; the `TrustError` has a line for each damaged one."""
    found = [line for file in files if (line := _damage(file)) is not None]
    if found:
        raise TrustError("\n".join(found))


def _damage(file: NeededFile) -> str | None:
    try:
        file.read()
    except (TrustError, DeploymentError) as error:
        problem = str(error) if str(file.path.parent) in str(error) else f"{file.path}: {error}"
        return problem if "chmod" in problem else f"{problem}. {file.advice}"  # whose mode is wrong needs no other copy
    return None
