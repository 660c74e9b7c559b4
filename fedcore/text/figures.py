"""Numbers with enough digits, so that an estimate stays within its interval."""

from __future__ import annotations

import math

_LARGE, _SMALL = 1e15, 1e-6


def figure_text(value: float, low: float, high: float, *, significant: int = 3, least: int = 0, to: str = "-") -> str:
    """Return ``value (low-high)``, all with the same decimals, so that none is rounded past another.

    The largest has at least ``significant`` digits, all at least ``least`` decimals; ``to`` separates the ends.
    """
    spec = figure_spec(value, low, high, significant=significant, least=least)
    return f"{value:{spec}} ({low:{spec}}{to}{high:{spec}})"


def figure_spec(*values: float, significant: int = 3, least: int = 0) -> str:
    """Return the format that gives the largest finite value so many digits; arguments as `figure_text`."""
    largest = max(map(abs, values))
    if largest and not _SMALL <= largest < _LARGE:
        return f"z.{significant - 1}e"
    decimals = significant - 1 - math.floor(math.log10(largest)) if largest else 0
    return f"z,.{max(least, decimals, 0)}f"
