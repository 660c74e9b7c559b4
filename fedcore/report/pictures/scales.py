"""From values to places in a picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A straight line from values (`low` < `high`) to places (`start`, `end`)."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the place of a value; values outside are drawn at the end."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """Round values that enclose what is drawn, ``step`` apart."""

    ticks: tuple[float, ...]
    step: float

    @property
    def low(self) -> float:
        return self.ticks[0]

    @property
    def high(self) -> float:
        return self.ticks[-1]


def value_axis(values: Iterable[float], *, share: bool, zero: bool = False, target: int = 4) -> Axis:
    """Return an axis that contains all values, which may be empty.

    Args:
        share: Whether values are in [0, 1], and the axis too.
    """
    drawn = list(values) or [0.0, 1.0]
    low, high = min(drawn), max(drawn)
    if zero or 0 <= low < 0.35 * high:
        low = min(0.0, low)
    if high - low < max(1e-9 * abs(high), 1e-12):
        margin = 0.05 if share else max(abs(high) * 0.1, 1.0 if high == 0 else 1e-9)
        low, high = (max(0.0, low - margin) if low >= 0 else low - margin), high + margin
    if share:
        low, high = max(0.0, low), min(1.0, high)
    step = nice_step((high - low) / target)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return Axis(ticks=tuple(float(f"{k * step:.12g}") for k in range(first, last + 1)), step=step)


def round_axis(first: int, last: int, *, target: int = 5) -> Axis:
    """Return ticks at whole rounds, including the first and the last."""
    if last <= first:
        return Axis(ticks=(float(first),), step=1.0)
    step = max(1, round(nice_step((last - first) / target)))
    inner = [k for k in range(step, last, step) if k - first >= 0.6 * step and last - k >= 0.6 * step]
    return Axis(ticks=(float(first), *map(float, inner), float(last)), step=float(step))


def nice_step(rough: float) -> float:
    """Return the number 1, 2 or 5 x 10^k nearest above three quarters of ``rough``."""
    magnitude = 10.0 ** math.floor(math.log10(rough))
    return next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= 0.75 * rough)


def spread(places: Sequence[float], *, apart: float, low: float, high: float) -> list[float]:
    """Move places so that they are ``apart`` and between ``low`` and ``high``, near where they were.

    Too many are spaced evenly.
    """
    if not places:
        return []
    apart = min(apart, (high - low) / max(1, len(places) - 1))
    order = sorted(range(len(places)), key=places.__getitem__)
    inside = [min(high, max(low, places[k])) for k in order]
    later = _pushed(inside, apart, high)
    earlier = [-place for place in reversed(_pushed([-place for place in reversed(inside)], apart, -low))]
    # Both keep the distance and the order, and so does what lies halfway between.
    halfway = {k: (a + b) / 2 for k, a, b in zip(order, later, earlier, strict=True)}
    return [halfway[k] for k in range(len(places))]


def _pushed(rising: Sequence[float], apart: float, high: float) -> list[float]:
    """Move places onwards until they are apart, and back so that the last stays below ``high``."""
    moved = list(rising)
    for k in range(1, len(moved)):
        moved[k] = max(moved[k], moved[k - 1] + apart)
    moved[-1] = min(moved[-1], high)
    for k in reversed(range(len(moved) - 1)):
        moved[k] = min(moved[k], moved[k + 1] - apart)
    return moved


def thinned(count: int, *, at_most: int) -> tuple[int, ...]:
    """Return evenly spaced positions in a sequence of ``count``, including the first and the last."""
    if count <= at_most:
        return tuple(range(count))
    return tuple(round(k * (count - 1) / (at_most - 1)) for k in range(at_most))
