"""File locks, released when their process ends, however it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from fedcore.errors import DeploymentError


@contextmanager
def holding(path: Path, *, busy: str) -> Iterator[None]:
    """Hold a lock, or raise a `DeploymentError` with the message `busy`."""
    try:
        held = FileLock(path).acquire(timeout=0.15)  # `is_locked` of another process holds it for a moment
    except Timeout:
        raise DeploymentError(busy) from None
    with held:
        yield


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock; a missing file is not created."""
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
