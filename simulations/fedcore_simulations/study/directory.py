"""The directory of a sweep: ``sweep.json``, and a run directory for each run of the grid."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedcore.errors import RunDirectoryError
from fedcore.storage.files import write_whole
from fedcore.text.wording import counted, named

SWEEP_FILE = "sweep.json"
LOGS = "logs"


class SweepDirectory:
    """A sweep on disk.

    Args:
        content: As in ``sweep.json``: the grid, and under ``runs`` name, settings and plan hash of each run.
    """

    def __init__(self, path: Path, content: Mapping[str, Any]) -> None:
        self.path = path
        self.content = dict(content)

    @classmethod
    def open(cls, path: Path) -> SweepDirectory:
        """Raises RunDirectoryError: There is no sweep, or its file is damaged."""
        file = path / SWEEP_FILE
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            hashes_of(content)
        except FileNotFoundError:
            raise RunDirectoryError(f"{path} holds no sweep: expected a {SWEEP_FILE} in it") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunDirectoryError(f"{file} cannot be read: {type(error).__name__}: {error}") from error
        return cls(path, content)

    @property
    def names(self) -> list[str]:
        return [run["name"] for run in self.content["runs"]]

    @property
    def keys(self) -> list[str]:
        """The keys of the plan that vary."""
        return list(self.content.get("vary", ()))

    @property
    def notes(self) -> list[str]:
        """What a reader must know before choosing a run."""
        return list(self.content.get("notes", ()))

    def is_finished(self, name: str) -> bool:
        """The report is the last file that a run writes."""
        return (self.path / name / "report.html").is_file()

    def is_begun(self, name: str) -> bool:
        return not self.is_finished(name) and has_rounds(self.path / name)

    def write(self, **changes: Any) -> None:
        self.content |= changes
        self.path.mkdir(parents=True, exist_ok=True)
        write_whole(self.path / SWEEP_FILE, json.dumps(self.content, indent=2, ensure_ascii=False) + "\n")

    def log(self, name: str) -> Path:
        """Where the run's task and libraries print."""
        return self.path / LOGS / f"{name}.txt"

    def drop_empty_logs(self) -> None:
        logs = self.path / LOGS
        for file in logs.glob("*.txt"):
            if file.stat().st_size == 0:
                file.unlink()
        if logs.is_dir() and not any(logs.iterdir()):
            logs.rmdir()


def hashes_of(content: Mapping[str, Any]) -> dict[str, str]:
    """The plan hash of each run, by its name."""
    return {run["name"]: run["plan_sha256"] for run in content["runs"]}


def has_rounds(path: Path) -> bool:
    """Whether a stopped run can be resumed."""
    return (path / "checkpoint" / "state.safetensors").is_file()


def clear_stub(path: Path) -> None:
    """Remove what a run left that was stopped before its first round: a plan, and no results.

    Raises:
        RunDirectoryError: The directory holds something else.
    """
    if not path.exists():
        return
    foreign = {each.name for each in path.iterdir()} - {"plan.toml", "checkpoint", "rounds.jsonl"}
    if {name for name in foreign if not name.startswith(".")} or has_rounds(path):
        raise RunDirectoryError(f"{path} holds files that are not of this run: {named(sorted(foreign))}; move them")
    shutil.rmtree(path)


def place_for(parent: Path, task: str, hashes: Mapping[str, str]) -> Path:
    """The directory of this very grid below `parent`, or the next free ``sweep-TASK-0001``."""
    for file in sorted(parent.glob(f"sweep-{task}-*/{SWEEP_FILE}")):
        try:
            if hashes_of(SweepDirectory.open(file.parent).content) == hashes:
                return file.parent
        except RunDirectoryError:
            continue
    taken = {entry.name for entry in parent.iterdir()} if parent.is_dir() else set()
    return next(parent / name for n in range(1, 100_000) if (name := f"sweep-{task}-{n:04d}") not in taken)


def check_same_grid(path: Path, hashes: Mapping[str, str]) -> None:
    """Let a sweep into an empty directory, into its own, or into one whose grid it extends.

    Raises:
        RunDirectoryError: The directory holds something else, or a grid with other runs.
    """
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not (path / SWEEP_FILE).is_file():
        what = "a run" if (path / "plan.toml").is_file() else "files that are not of a sweep"
        raise RunDirectoryError(f"{path} holds {what}; give another --out")
    before = hashes_of(SweepDirectory.open(path).content)
    if reasons := _differences(before, hashes):
        raise RunDirectoryError(f"{path} was made by another grid: {'; '.join(reasons)}. Give another --out")


def _differences(before: Mapping[str, str], now: Mapping[str, str]) -> Sequence[str]:
    missing = [name for name in before if name not in now]
    changed = [name for name in before if name in now and before[name] != now[name]]
    reasons = []
    if missing:
        reasons.append(f"{counted(len(missing), 'run')} of it not asked for now, such as {missing[0]}")
    if changed:
        reasons.append(f"{counted(len(changed), 'run')} with another plan, such as {changed[0]}")
    return reasons
