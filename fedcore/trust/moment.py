"""Points in time, as documents write them."""

from __future__ import annotations

from datetime import UTC, date, datetime

from fedcore.errors import TrustError


def parse_moment(text: str) -> datetime:
    """A moment in ISO 8601 with its offset, in UTC; raises `TrustError` otherwise."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise TrustError(f"expected a moment such as 2026-11-29T12:00:00+00:00, found {text[:40]!r}") from error
    raise TrustError(f"expected a moment with its offset, such as 2026-11-29T12:00:00+00:00, found {text[:40]!r}")


def check_day(text: str) -> None:
    """Refuse anything but a day such as ``2026-11-29``; raises `TrustError`."""
    try:
        fits = date.fromisoformat(text).isoformat() == text
    except ValueError:
        fits = False
    if not fits:
        raise TrustError(f"expected a day such as 2026-11-29, found {text[:40]!r}")
