"""Files with a secret: made once, readable by their owner only."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from fedcore.errors import StorageError, TrustError

_MAX_BYTES = 65_536
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)


def create_private(path: Path, content: bytes | str) -> None:
    """Write a new file with mode 0600 and flush it to disk; an existing file or link is never touched.

    Raises:
        TrustError: The file exists.
        StorageError: It cannot be written; nothing is left behind.
    """
    try:
        descriptor = os.open(path, _NEW, 0o600)
    except FileExistsError:
        raise TrustError(f"{path} exists, and is never overwritten; move it away first") from None
    except OSError as error:
        raise StorageError(f"{path} could not be written: {error.strerror or error}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise StorageError(f"{path} could not be written: {error.strerror or error}") from error
        raise


def replace_private(path: Path, content: bytes | str) -> None:
    """Replace a file with mode 0600 atomically; raises `StorageError` if it cannot be written; the old file is kept."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    create_private(aside, content)
    try:
        aside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise StorageError(f"{path} could not be written: {error.strerror or error}") from error


def read_private(path: Path, *, what: str) -> bytes:
    """Read a file that only its owner may read.

    Raises:
        TrustError: It is missing, too long for its kind, or others may read or write it.
    """
    try:
        with path.open("rb") as file:
            _check_mode(path, os.fstat(file.fileno()).st_mode, what)
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise TrustError(f"expected {what} at {path}, found no file there") from None
    except OSError as error:
        raise TrustError(f"{what} {path} cannot be read: {error.strerror or error}") from error
    if len(content) > _MAX_BYTES:
        raise TrustError(f"{what} {path} is too long to be one; is it the right file?")
    return content


def make_private_directory(path: Path) -> bool:
    """Make a directory with mode 0700, or set that mode; return whether it is new.

    Raises:
        StorageError: It cannot be made, or belongs to someone else.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
            return True
        if path.is_dir():
            path.chmod(0o700)
            return False
    except OSError as error:
        raise StorageError(f"the directory {path} cannot be made: {error.strerror or error}") from error
    raise StorageError(f"the directory {path} cannot be made: a file is there")


def remove_if_empty(directory: Path) -> None:
    with contextlib.suppress(OSError):
        directory.rmdir()


def _check_mode(path: Path, mode: int, what: str) -> None:
    if stat.S_IMODE(mode) & 0o077:
        raise TrustError(
            f"{what} {path} may be used by others: expected mode 0600, found {stat.S_IMODE(mode):04o}; "
            f"if nobody else has read it, run: chmod 600 {path}"
        )
