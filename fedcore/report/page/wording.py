"""How a metric's values, intervals and missing values are written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from fedcore.audit.metrics.catalogue import CATALOGUE, is_share
from fedcore.audit.metrics.parity import NAMES
from fedcore.report.page.run_record import Rate

_SHARES = frozenset({"precision", "recall", "f1"})
"""Of a task's own metrics those in percent; those of groups are in the catalogue."""
ACRONYMS = frozenset({"auc", "mae", "mse", "rmse"})
_COSTS = ("loss", "error", "mae", "mse", "perplexity")
_SHORT_SPACE = "\u202f"
NOT_DEFINED = "not defined"
_TO = "\u00a0to\u00a0"  # an interval is not broken over two lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A metric and the way to write it.

    Attributes:
        share: Whether it is in [0, 1] and written in per cent.
        bound: Whether it is an upper bound, which is rounded up: written smaller it would be false.
    """

    name: str
    share: bool = False
    cost: bool = False
    bound: bool = False

    @classmethod
    def of(cls, name: str) -> Quantity:
        known = CATALOGUE.get(name.removeprefix("test_"))  # of the plan's own test data
        if known is not None:
            return cls(name=name, share=known.share, cost=known.better == "low")
        return cls(
            name=name,
            share=name in _SHARES or name.endswith("_rate"),
            cost=any(part in name.lower() for part in _COSTS),
        )

    @property
    def words(self) -> str:
        words = self.name.replace("_", " ")
        return words.upper() if words in ACRONYMS else words

    @property
    def title(self) -> str:
        return self.words[:1].upper() + self.words[1:]

    def text(self, value: float | None, *, exact: bool = False) -> str:
        """Write a value: ``93.0 %`` or ``0.2412``; one more digit if `exact`, for tables."""
        if value is None:
            return "not defined"
        if self.share:
            return f"{100 * value:.{2 if exact else 1}f}{_SHORT_SPACE}%"
        return significant(value, 5 if exact else 3, up=self.bound)

    def tick(self, value: float, step: float) -> str:
        """Write a value at an axis whose ticks are ``step`` apart."""
        if self.share:
            return f"{_fixed(100 * value, 100 * step)}{_SHORT_SPACE}%"
        return _fixed(value, step)


EPSILON = Quantity(name="ε", cost=True, bound=True)


def significant(value: float, digits: int, *, up: bool = False) -> str:
    """Write a number with so many significant digits, rounded up if `up`, without an exponent if readable."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    magnitude = math.floor(math.log10(abs(value)))
    if up:
        value = _rounded_up(value, digits - 1 - magnitude)
    if not -4 <= magnitude < 9:
        return plain_exponent(f"{value:.{digits - 1}e}")
    return f"{value:,.{max(0, digits - 1 - magnitude)}f}"


def _rounded_up(value: float, places: int) -> float:
    """Round up to so many decimal places, except for the float's own rounding error."""
    exact = Decimal(repr(value))
    return float(exact.quantize(Decimal(1).scaleb(-places), rounding=ROUND_CEILING))


def plain_exponent(text: str) -> str:
    """Write ``1e-05`` as ``1e-5``."""
    mantissa, mark, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent)}" if mark else text


def _fixed(value: float, step: float) -> str:
    if abs(value) >= 1e7 or 0 < step < 1e-4:
        return plain_exponent(f"{value:g}")
    decimals = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    return f"{value + 0.0:,.{decimals}f}"


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
