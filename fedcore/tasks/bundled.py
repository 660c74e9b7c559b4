"""Tasks whose data is part of the installation."""

from __future__ import annotations

from pathlib import Path

from fedcore.errors import DataError


def refuse_path(task: str, path: Path | None) -> None:
    """Refuse a path, which would not be read; raises `DataError`."""
    if path is not None:
        raise DataError(
            f"the task {task!r} brings its own rows and reads no file; a client's part of them is what fedcore split "
            f"writes, in a file that ends in .rows.safetensors; found {path.name}"
        )
