"""Quantities by group other than plain rates, with intervals at any confidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fedcore.audit.statistics.intervals import Interval, normal_quantile

Spread = Callable[[float], Interval]
"""From a confidence to an interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A quantity of one group with its interval, over `n` rows; all None if it is undefined."""

    value: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A quantity over `n` rows before its confidence is chosen.

    Attributes:
        value: The estimate; None if it is undefined.
        spread: Its interval at a confidence; None if it is undefined.
    """

    value: float | None
    n: int
    spread: Spread | None = None

    def measure(self, confidence: float) -> Measure:
        if self.value is None or self.spread is None:
            return Measure(value=None, low=None, high=None, n=0)
        ends = self.spread(confidence)
        return Measure(value=self.value, low=ends.low, high=ends.high, n=self.n)


UNDEFINED = Estimate(value=None, n=0)


def normal(value: float, error: float, *, within: tuple[float, float]) -> Spread:
    """Return ``value +- z error``, cut to the range that the quantity can have."""

    def ends(confidence: float) -> Interval:
        half = normal_quantile(confidence) * error
        return Interval(low=max(within[0], value - half), high=min(within[1], value + half))

    return ends
