"""Words that depend on a number."""

from __future__ import annotations

from collections.abc import Sequence


def counted(count: int, singular: str, plural: str | None = None) -> str:
    """``1 client`` or ``2 clients``, with separated thousands; `plural` if it is not `singular` and an s."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"


def named(names: Sequence[str], *, most: int = 10) -> str:
    """``a, b, c``; of too many the first ones, and how many more."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def energy_text(kwh: float) -> str:
    """Write an energy: ``0.36 Wh``, ``1.2 kWh``."""
    return f"{kwh:.3g} kWh" if kwh >= 1.0 else f"{1000 * kwh:.3g} Wh"


def bytes_text(number: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 999.5:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:,.3g} TB"
