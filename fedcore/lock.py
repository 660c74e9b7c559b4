"""Locks on files: held by a process, and gone with it, however it ends."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedcore.errors import DeploymentError


@contextmanager
def holding(path: Path, *, busy: str) -> Iterator[None]:
    """Hold a lock.

    Args:
        busy: What to say when another process holds it.

    Raises:
        DeploymentError: Another process holds it.
    """
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DeploymentError(busy) from None
        yield


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock; nothing is made or changed."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False
