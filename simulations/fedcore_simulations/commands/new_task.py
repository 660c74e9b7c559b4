"""``fedcore new``: a task to start from."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

from fedcore.errors import RunDirectoryError
from fedcore.storage.files import write_whole

_FILES = ("my_task.py", "plan.toml", "test_my_task.py")


def write_new_task(directory: Path) -> list[Path]:
    """Write a task, a plan and a test into a directory that is absent or empty.

    Raises:
        RunDirectoryError: The directory holds something, or cannot be written.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise RunDirectoryError(f"{directory} is not empty; give a directory that is absent or empty")
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunDirectoryError(f"the directory {directory} cannot be made: {error.strerror}") from error
    templates = importlib.resources.files("fedcore_simulations") / "templates"
    for name in _FILES:
        write_whole(directory / name, (templates / name).read_bytes())
    return [directory / name for name in _FILES]
