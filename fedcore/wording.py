"""Words that depend on a number."""

from __future__ import annotations


def counted(count: int, singular: str, plural: str | None = None) -> str:
    """``1 client`` or ``2 clients``; thousands are set apart.

    Args:
        plural: Where it is not `singular` and an s.
    """
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"
