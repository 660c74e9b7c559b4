"""Files that are complete or absent."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from fedcore.errors import StorageError


def write_whole(path: Path, content: bytes | str) -> None:
    """Write aside, flush to disk, rename: readers see the old file or the new one.

    Raises:
        StorageError: The disk is full or not writable; the old file is kept.
    """
    data = content.encode() if isinstance(content, str) else content

    def write(aside: Path) -> None:
        with aside.open("wb") as file:
            file.write(data)

    place_whole(path, write)


def place_whole(path: Path, write: Callable[[Path], None]) -> None:
    """As `write_whole`, with a function that writes the file it is given."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(aside)
        _flush(aside)
        aside.replace(path)
        _flush(path.parent)  # makes the rename survive a loss of power
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise _explained(path, error) from error


def append_line(path: Path, line: str) -> None:
    """Append one line and flush it to disk.

    Raises:
        StorageError: The disk is full or not writable; an incomplete line is removed.
    """
    try:
        with path.open("ab") as file:
            start = file.tell()
            try:
                file.write(f"{line}\n".encode())
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                with contextlib.suppress(OSError):
                    os.truncate(path, start)
                raise
    except OSError as error:
        raise _explained(path, error) from error


def remove_leftovers(directory: Path) -> None:
    """Remove files that killed processes left half written in a directory.

    Their names end with the number of the process; those of live processes are kept.
    """
    for path in directory.glob(".*"):
        writer = path.name.rpartition(".")[2]
        if writer.isdigit() and not _is_alive(int(writer)):
            with contextlib.suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _explained(path: Path, error: OSError) -> StorageError:
    if error.errno == errno.ENOSPC:
        return StorageError(
            f"the disk is full: {path} could not be written, and the old file is unchanged. "
            "Free some space, then continue; a stopped run can be resumed"
        )
    return StorageError(f"{path} could not be written: {error.strerror or error}")
