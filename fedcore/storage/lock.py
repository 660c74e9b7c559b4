"""Locks on files: held by a process, and gone with it, however it ends."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from fedcore.errors import DeploymentError

_TRIES, _PAUSE_SECONDS = 3, 0.05


@contextmanager
def holding(path: Path, *, busy: str) -> Iterator[None]:
    """Hold a lock.

    Args:
        busy: What to say when another process holds it.

    Raises:
        DeploymentError: Another process holds it.
    """
    with path.open("a") as file:
        if not any(_taken(file) for _ in range(_TRIES)):
            raise DeploymentError(busy)
        yield


def _taken(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(_PAUSE_SECONDS)  # it may be somebody who only looks, see `is_locked`
        return False
    return True


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
