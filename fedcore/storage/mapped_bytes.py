"""Bytes as large as the model, in a file that is read in slices.

Slices are released after use: their pages stay in the system's cache, which shrinks when memory is short, and
not in the process. Imports neither torch nor numpy, for the processes that only pass a model on.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import mmap
import tempfile
from collections.abc import Iterator
from pathlib import Path

SLICE_BYTES = 16 * 2**20
_SMALLEST_FILE = 64 * 2**20
_M_MMAP_THRESHOLD = -3  # from malloc.h


def scratch_bytes(size: int) -> memoryview:
    """Writable zeros; if many, in a file without a name."""
    if size < _SMALLEST_FILE:
        return memoryview(bytearray(size))
    with tempfile.TemporaryFile() as file:
        file.truncate(size)
        return memoryview(mmap.mmap(file.fileno(), size))


def mapped_file(path: Path | None) -> memoryview:
    """The bytes of a file, read on use; empty without a file."""
    if path is None or path.stat().st_size == 0:
        return memoryview(b"")
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def let_go(data: object) -> None:
    """Release the pages of mapped bytes; they are read again on use."""
    mapping = data.obj if isinstance(data, memoryview) else data
    if isinstance(mapping, mmap.mmap):
        mapping.madvise(mmap.MADV_DONTNEED)


def return_freed_memory() -> None:
    """Make this process return freed blocks of a megabyte and more to the system at once.

    The C library keeps ever larger freed blocks for later, up to 32 MiB each: a process that passes a model on in
    pieces would keep hundreds of unused megabytes. Only glibc has the switch, and needs it.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 2**20)


def pieces(data: memoryview | bytes) -> Iterator[memoryview]:
    """The bytes in order, 16 MiB at a time, each released when the next is taken."""
    view = memoryview(data)
    for start in range(0, len(view), SLICE_BYTES):
        yield view[start : start + SLICE_BYTES]
        let_go(data)


def sha256(data: memoryview | bytes) -> str:
    digest = hashlib.sha256()
    for piece in pieces(data):
        digest.update(piece)
    return digest.hexdigest()
