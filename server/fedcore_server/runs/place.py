"""The place of a run on disk, judged before anything slow is imported."""

from __future__ import annotations

from pathlib import Path

from fedcore.errors import RunDirectoryError


def is_finished(path: Path) -> bool:
    """The report is the last file that a run writes."""
    return (path / "report.html").is_file()


def check_free(path: Path) -> None:
    """Raises RunDirectoryError: The directory is not empty; names what it holds, and what to do."""
    if path.is_dir() and not any(path.iterdir()):
        return
    if is_finished(path):
        raise RunDirectoryError(f"{path} holds a finished run; give another --out")
    if (path / "plan.toml").is_file() and not (path / "checkpoint" / "state.safetensors").is_file():
        raise RunDirectoryError(f"{path} holds a run that finished no round; remove it, or give another --out")
    if (path / "plan.toml").is_file():
        raise RunDirectoryError(f"{path} holds another run; give another --out, or resume that run: --resume {path}")
    if path.exists():
        raise RunDirectoryError(f"{path} is not empty; give a directory that is absent or empty")


def next_free(parent: Path, name: str) -> Path:
    """The first of ``parent/name-0001``, ``name-0002``, … that does not exist."""
    taken = {entry.name for entry in parent.iterdir()} if parent.is_dir() else set()
    return next(parent / f"{name}-{n:04d}" for n in range(1, 100_000) if f"{name}-{n:04d}" not in taken)


def check_resumable(path: Path) -> None:
    """Raises RunDirectoryError: There is no run, or it is finished."""
    if not (path / "plan.toml").is_file():
        raise RunDirectoryError(f"{path} holds no run: expected a plan.toml in it")
    if is_finished(path):
        raise RunDirectoryError(f"the run in {path} is finished; its results are in summary.json and report.html")
