"""Numbers, intervals and missing values in words."""

from __future__ import annotations

from collections.abc import Sequence

from fedcore.audit.metrics.catalogue import is_share
from fedcore.audit.metrics.parity import NAMES
from fedcore.report.page.quantities import ACRONYMS, Quantity, plain_exponent
from fedcore.report.page.run_record import Rate

NOT_DEFINED = "not defined"
_TO = "\u00a0to\u00a0"  # an interval is not broken over two lines


def rate_text(rate: Rate, quantity: Quantity, *, min_cell: int, exact: bool = False) -> str:
    if rate.suppressed:
        return f"not shown (protects cells of fewer than {min_cell} rows)"
    if rate.value is None:
        return f"{NOT_DEFINED} (no rows to count)"
    return quantity.text(rate.value, exact=exact)


def interval_text(low: float | None, high: float | None, quantity: Quantity, *, exact: bool = False) -> str:
    """Write ``82.0 to 92.3 %``; empty without an interval."""
    if low is None or high is None:
        return ""
    first, last = quantity.text(low, exact=exact), quantity.text(high, exact=exact)
    return f"{first[:-2] if quantity.share else first}{_TO}{last}"


def in_points(metric: str) -> bool:
    """Whether a difference is one of shares, also under a usual name of a gap."""
    return is_share(metric) or (metric in NAMES and metric != "impact_ratio")


def difference_text(metric: str, value: float | None, low: float | None, high: float | None) -> str:
    """Write a difference with its interval: ``5.1 points (1.0 to 9.9)`` for shares, else ``0.051 (0.010 to 0.099)``."""
    if value is None:
        return NOT_DEFINED
    text = f"{100 * value:.1f} points" if in_points(metric) else f"{value:.3f}"
    return text + difference_reach(metric, low, high)


def difference_reach(metric: str, low: float | None, high: float | None) -> str:
    """Write the interval of a difference, for shares `` (1.0 to 9.9)``; empty without one."""
    if low is None or high is None:
        return ""
    return f" ({100 * low:z.1f}{_TO}{100 * high:z.1f})" if in_points(metric) else f" ({low:.3f}{_TO}{high:.3f})"


def ratio_text(value: float | None, low: float | None, high: float | None) -> str:
    """Write a ratio with its interval: ``0.94 (0.87 to 0.99)``."""
    if value is None:
        return NOT_DEFINED
    return f"{value:.2f}" if low is None or high is None else f"{value:.2f} ({low:.2f}{_TO}{high:.2f})"


def count_text(count: float | None) -> str:
    return NOT_DEFINED if count is None else f"{round(count):,}"


def delta_text(delta: float | None) -> str:
    return NOT_DEFINED if delta is None else plain_exponent(f"{delta:g}")


def seconds_text(seconds: float | None) -> str:
    """Write a duration: ``0.8 s``, ``31 s``, ``4 min 05 s``, ``2 h 07 min``."""
    if seconds is None:
        return "not measured"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def capitalised(words: str) -> str:
    """Write the first letter of a sentence in upper case, an acronym wholly."""
    first = words.partition(" ")[0].removesuffix(":")
    if first in ACRONYMS:
        return first.upper() + words[len(first) :]
    return words[:1].upper() + words[1:]


def listed(names: Sequence[str], *, at_most: int = 4) -> str:
    """Write ``a, b and c``; the names beyond ``at_most`` are counted."""
    shown = list(names)
    if len(shown) > at_most:
        shown = [*shown[:at_most], f"{len(names) - at_most} more"]
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]])) if shown else ""
