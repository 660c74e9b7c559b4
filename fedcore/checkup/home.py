"""Checks common to both kinds of home: keys, certificates, a lock, a chain of events."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509

from fedcore.checkup.finding import Finding, ok, problem, skipped, warning
from fedcore.errors import TrustError
from fedcore.storage.events import read_events, verify_events
from fedcore.text.wording import counted

_SOON = timedelta(days=14)


def private_files(home: Path, files: Iterable[tuple[Path, Callable[[], Any]]]) -> Iterator[Finding]:
    """Whether each key exists, can be read, and is readable by its owner only.

    Args:
        files: Each with the function that reads it and raises if it is damaged.
    """
    if mode := stat.S_IMODE(home.stat().st_mode) & 0o077:
        yield warning("keys", f"others may look into {home} (mode {0o700 | mode:04o})", f"chmod 700 {home}")
    listed = list(files)
    wrong = [finding for path, read in listed if (finding := _wrong(path, read)) is not None]
    yield from wrong
    if not wrong:
        yield ok("keys", f"{', '.join(path.name for path, _ in listed)}: whole, and for their owner only")


def certificate(name: str, path: Path, *, now: datetime, advice: str) -> Iterator[Finding]:
    """Whether a certificate is valid now, and for two weeks more; raises `TrustError` if it cannot be read."""
    try:
        found = x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise TrustError(f"the certificate {path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise TrustError(f"{path} holds no certificate in PEM format") from error
    start, end = found.not_valid_before_utc, found.not_valid_after_utc
    if now < start:
        yield problem(name, f"valid only from {start:%Y-%m-%d %H:%M} UTC", "set this machine's clock")
    elif now >= end:
        yield problem(name, f"expired on {end:%Y-%m-%d}", advice)
    elif end - now < _SOON:
        yield warning(name, f"expires on {end:%Y-%m-%d}, in {counted((end - now).days, 'day')}", advice)
    else:
        yield ok(name, f"valid until {end:%Y-%m-%d}")


def chain(path: Path) -> Iterator[Finding]:
    """Whether an event log is unchanged; raises `StorageError` if it cannot be read."""
    if not path.exists():
        yield skipped("events", f"no event was logged yet at {path}")
        return
    breaks = verify_events(path)
    if breaks:
        yield problem(
            "events",
            f"{path} was changed: {counted(len(breaks), 'break')}, the first at {breaks[0]}",
            f"fedcore events verify {path}",
        )
    else:
        yield ok("events", f"{path}: {counted(sum(1 for _ in read_events(path)), 'event')}, an unbroken chain")


def _wrong(path: Path, read: Callable[[], Any]) -> Finding | None:
    if not path.is_file():
        return problem("keys", f"{path} is not there", "restore it from your backup of the home")
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        mode = stat.S_IMODE(path.stat().st_mode)
        return problem(
            "keys",
            f"others may use {path}: expected mode 0600, found {mode:04o}",
            f"if nobody else has read it: chmod 600 {path}",
        )
    try:
        read()
    except TrustError as error:
        return problem("keys", str(error), "restore it from your backup of the home")
    return None
