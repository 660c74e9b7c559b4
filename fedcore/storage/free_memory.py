"""Memory that this process may still take."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from fedcore.errors import DataError
from fedcore.text.wording import bytes_text

SHARE = 0.9
"""Of the free memory that is planned with: other processes take some, and allocators keep what they were given."""
_MEMINFO = Path("/proc/meminfo")
_OWN_GROUP = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")


def free_memory() -> int | None:
    """Bytes free for this process: of the machine, or of its control group where that has less; ``None`` if unknown.

    Pages that the system can drop, such as cached files, count as free.
    """
    return min((max(0, free) for free in (*_of_the_machine(), *_of_groups())), default=None)


def check_free(num_bytes: int, what: str, advice: str) -> None:
    """Refuse what would not fit, before the system ends the process for it.

    Raises:
        DataError: With what is needed, what is free, and what to do.
    """
    free = free_memory()
    if free is not None and num_bytes > SHARE * free:
        raise DataError(f"{what} need {bytes_text(num_bytes)} of memory, and {bytes_text(free)} is free; {advice}")


def _of_the_machine() -> Iterator[int]:
    with contextlib.suppress(OSError, ValueError):
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                yield 1024 * int(line.split()[1])
                return
    with contextlib.suppress(OSError, ValueError, AttributeError):
        yield os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _of_groups() -> Iterator[int]:
    """Of the process's control group and those around it, of either version."""
    with contextlib.suppress(OSError):
        for line in _OWN_GROUP.read_text().splitlines():
            _, kinds, path = line.split(":", 2)
            if kinds and "memory" not in kinds.split(","):
                continue
            root = _GROUPS / "memory" if kinds else _GROUPS
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if kinds else ("memory.max", "memory.current")
            inner = root / path.lstrip("/")
            for folder in (inner, *inner.parents):
                if folder.is_relative_to(root):
                    yield from _left_in(folder, *names)


def _left_in(folder: Path, limit: str, used: str) -> Iterator[int]:
    with contextlib.suppress(OSError, ValueError):  # "max" is no limit
        most = int((folder / limit).read_text())
        facts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        yield most - int((folder / used).read_text()) + int(facts.get("inactive_file", 0))
