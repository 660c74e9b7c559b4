"""A run on disk, shown to trackers afterwards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedcore.errors import RunDirectoryError, StorageError
from fedcore.listeners import Beginning, Ending, RunListener, name_of
from fedcore.plan import RunPlan


def replay(directory: Path, trackers: Sequence[RunListener]) -> int:
    """Show a finished, paused or stopped run to trackers; returns the number of rounds.

    Raises:
        RunDirectoryError: There is no run, or no round in it.
        StorageError: A file is damaged, or a tracker failed.
    """
    if not (directory / "plan.toml").is_file():
        raise RunDirectoryError(f"{directory} holds no run: expected a plan.toml in it")
    plan = RunPlan.from_toml(directory / "plan.toml")
    lines = _lines(directory / "rounds.jsonl")
    if not lines:
        raise RunDirectoryError(f"{directory} has no finished round to track")
    summary = _read(directory / "summary.json") if (directory / "summary.json").is_file() else None
    clients = tuple(sorted({client for line in lines for client in line["asked"]}))
    beginning = Beginning(run=directory.resolve().name, task=plan.task.name, clients=clients, lines=tuple(lines))
    failure = "" if summary is not None else "not finished"
    for tracker in trackers:
        try:
            tracker.run_begins(plan, beginning)
            tracker.run_ends(Ending(summary=summary, directory=directory, failure=failure))
        except Exception as error:
            raise StorageError(f"tracker {name_of(tracker)} failed: {type(error).__name__}: {error}") from error
    return sum(line["committed"] for line in lines)


def _lines(path: Path) -> list[dict[str, Any]]:
    """The journal; a last line that a crash has torn was never part of it."""
    if not path.is_file():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be read: {error}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be read: {error}") from error
    return content
