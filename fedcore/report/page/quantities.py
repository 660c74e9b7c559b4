"""How a metric's values are written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from fedcore.audit.metrics.catalogue import CATALOGUE

_SHARES = frozenset({"precision", "recall", "f1"})
"""Of a task's own metrics those in percent; those of groups are in the catalogue."""
ACRONYMS = frozenset({"auc", "mae", "mse", "rmse"})
_COSTS = ("loss", "error", "mae", "mse", "perplexity")
_SHORT_SPACE = "\u202f"


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
        known = CATALOGUE.get(name)
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
