"""The distance between groups that are served well and badly, with intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Literal

from fedcore.audit.metrics.catalogue import CATALOGUE, is_share
from fedcore.audit.statistics.intervals import Interval
from fedcore.audit.statistics.pairs import Directed, Ends, Pair, Side, highest_of, lowest_of
from fedcore.text.figures import figure_spec

LedBy = Literal["difference", "ratio"]


@dataclass(frozen=True, kw_only=True)
class Gap:
    """The gap of one metric over the groups of one attribute.

    It names the pair with the clearest gap: the largest lower end of all pairs' differences (``led_by`` a ratio, the
    smallest upper end). The pair of the largest estimate is often the one of fewest rows. Names, rates, and ends of
    intervals are of the named pair; limits are judged by ``widest`` and ``smallest_ratio``, which are of any two.

    Rows of unknown group are not compared: they are not a group that could be served badly, though their own
    rate is reported. Groups without a rate cannot be compared and are named in ``undefined``.

    Attributes:
        pairs: Every two groups that have a rate, with intervals that hold for all pairs at once.
        alone: Every group that has a rate with its exact interval, of all groups at once.
        label: The class that the rate takes against all others; None if known from context.
        reference: The group that the other is compared with, if any.
    """

    attribute: str
    metric: str
    pairs: tuple[Pair, ...] = ()
    alone: tuple[tuple[Side, Interval], ...] = ()
    undefined: tuple[str, ...]
    groups_compared: tuple[str, ...]
    label: str | None = None
    led_by: LedBy = "difference"
    reference: str | None = None

    @cached_property
    def pair(self) -> Pair | None:
        """The named pair; None if fewer than two groups have a rate."""
        if self.led_by == "ratio" and self.pairs and self.pairs[0].ratio is not None:
            return min(self.pairs, key=_ratio_rank)
        return max(self.pairs, key=_rank, default=None)

    @property
    def highest(self) -> str | None:
        return None if self.pair is None else self.pair.highest.group

    @property
    def lowest(self) -> str | None:
        return None if self.pair is None else self.pair.lowest.group

    @property
    def ratio_fraction(self) -> Fraction | None:
        """Lowest over highest rate of the named pair, exact; None if both are 0, or one is below 0."""
        return None if self.pair is None else self._ratio(self.pair.lowest.rate, self.pair.highest.rate)

    @property
    def difference(self) -> float | None:
        return None if self.pair is None else float(self.pair.apart)

    @property
    def ratio(self) -> float | None:
        return None if self.ratio_fraction is None else float(self.ratio_fraction)

    @property
    def difference_low(self) -> float | None:
        return None if self.pair is None else self.pair.difference.low

    @property
    def difference_high(self) -> float | None:
        return None if self.pair is None else self.pair.difference.high

    @property
    def ratio_low(self) -> float | None:
        """Lower end of the named pair's ratio; None where a ratio has no interval."""
        return None if self.pair is None or self.pair.ratio is None else self.pair.ratio.low

    @property
    def ratio_high(self) -> float | None:
        return None if self.pair is None or self.pair.ratio is None else self.pair.ratio.high

    @cached_property
    def directed(self) -> Directed | None:
        """The named pair in the direction of the reference; None without one."""
        return None if self.reference is None or self.pair is None else self.pair.against(self.reference)

    @cached_property
    def widest(self) -> Ends | None:
        """Interval of the largest difference of any two groups, whichever they truly are."""
        return highest_of(pair.difference for pair in self.pairs) if self.pairs else None

    @cached_property
    def smallest_ratio(self) -> Ends | None:
        ratios = [pair.ratio for pair in self.pairs if pair.ratio is not None]
        return lowest_of(ratios) if ratios else None

    @cached_property
    def furthest(self) -> Pair | None:
        """The pair that may be furthest apart: the largest upper end, of ratios the smallest lower end."""
        if self.led_by == "ratio" and self.pairs and self.pairs[0].ratio is not None:
            return min(self.pairs, key=lambda pair: pair.ratio.low if pair.ratio else 1.0)
        return max(self.pairs, key=lambda pair: pair.difference.high, default=None)

    @cached_property
    def widest_estimate(self) -> Fraction | None:
        """Highest minus lowest rate of all groups: wide by chance alone where there are many or small ones."""
        return max((pair.apart for pair in self.pairs), default=None)

    @cached_property
    def smallest_ratio_estimate(self) -> Fraction | None:
        rates = [side.rate for pair in self.pairs for side in (pair.highest, pair.lowest)]
        return self._ratio(min(rates), max(rates)) if rates else None

    @cached_property
    def most(self) -> tuple[Side, Interval] | None:
        """The group whose rate is certainly high: the largest lower end, with its own interval."""
        return max(self.alone, key=lambda one: (one[1].low, one[0].rate), default=None)

    @cached_property
    def least(self) -> tuple[Side, Interval] | None:
        """The group whose rate is certainly low: the smallest upper end, with its own interval."""
        return min(self.alone, key=lambda one: (one[1].high, one[0].rate), default=None)

    @cached_property
    def highest_ends(self) -> Ends | None:
        return highest_of(ends for _, ends in self.alone) if self.alone else None

    @cached_property
    def lowest_ends(self) -> Ends | None:
        return lowest_of(ends for _, ends in self.alone) if self.alone else None

    def by_ratio(self) -> Gap:
        """Return the same gap, with the pair named whose ratio has the smallest upper end."""
        return replace(self, led_by="ratio")

    @property
    def name(self) -> str:
        return self.metric.replace("_", " ") + (f" of {self.label}" if self.label is not None else "")

    @property
    def words(self) -> str:
        """The gap with its direction and rows.

        For example ``selection rate: Male 30.1 % (301 of 1,000) over Female 11.2 % (112 of 1,000), 18.9 points``.
        """
        if self.pair is None:
            return f"{self.name}: no gap, because fewer than two groups have a rate"
        if self.widest_estimate == 0:
            return f"{self.name}: {self.value_words(self.pair.highest.rate)} in every group"
        if self.directed is not None:
            group, reference = self.directed.group, self.directed.reference
            pair = f"{group.group} {self.value_words(group.rate)} ({group.count}) against {reference.group}"
            pair += f" {self.value_words(reference.rate)} ({reference.count})"
            return f"{self.name}: {pair}, {self.difference_words(float(self.directed.difference), sign='+')}"
        first, second = (
            f"{side.group} {self.value_words(side.rate)} ({side.count})"
            for side in (self.pair.highest, self.pair.lowest)
        )
        return f"{self.name}: {first} over {second}, {self.difference_words(float(self.pair.apart))}"

    @property
    def furthest_words(self) -> str:
        """How far apart any two groups may be, if further than the named pair may be; else empty."""
        far = self.furthest
        if far is None or self.pair is None or far is self.pair:
            return ""
        names = f"{far.highest.group} ({far.highest.count}) and {far.lowest.group} ({far.lowest.count})"
        if self.led_by == "ratio" and far.ratio is not None and self.pair.ratio is not None:
            return f"any two at least {far.ratio.low:.2f}: {names}" if far.ratio.low < self.pair.ratio.low else ""
        most = far.difference.high
        return f"any two at most {self.difference_words(most)}: {names}" if most > self.pair.difference.high else ""

    @property
    def interval_words(self) -> str:
        """The interval of the named pair's difference: `` (11.3 to 28.4)``, of shares in points."""
        if self.pair is None:
            return ""
        ends, sign = (self.pair.difference, "") if self.directed is None else (self.directed.ends, "+")
        low, high = (self.difference_words(end, sign=sign).removesuffix(" points") for end in (ends.low, ends.high))
        return f" ({low} to {high})"

    @property
    def ratio_words(self) -> str:
        """The ratio of the named pair with its interval: ``0.75 (0.47 to 1.00)``; empty where it has none."""
        ratio, ends = self.ratio_fraction, None if self.pair is None else self.pair.ratio
        if self.directed is not None:
            ratio, ends = self.directed.ratio, self.directed.ratio_ends
        return "" if ratio is None or ends is None else f"{float(ratio):.3f} ({ends.low:.3f} to {ends.high:.3f})"

    def difference_words(self, value: float, *, sign: str = "") -> str:
        """Write a difference: of shares in points, of others in the decimals of the rates."""
        if is_share(self.metric):
            return f"{100 * value:{sign}.1f} points"
        return ("+" if sign and value >= 0 else "") + self.plain_words(value)

    def value_words(self, rate: Fraction) -> str:
        return f"{100 * float(rate):.1f} %" if is_share(self.metric) else self.plain_words(float(rate))

    def plain_words(self, value: float) -> str:
        """Write a value of a metric other than shares to the decimals of the gap's two rates."""
        rates = [] if self.pair is None else [float(self.pair.highest.rate), float(self.pair.lowest.rate)]
        return f"{value:{figure_spec(*(rates or [value]), least=3)}}"

    def _ratio(self, lowest: Fraction, highest: Fraction) -> Fraction | None:
        """None if the ratio has no interval."""
        known = self.smallest_ratio is not None and has_ratio(self.metric)
        return lowest / highest if known and highest > 0 and lowest >= 0 else None


def has_ratio(metric: str) -> bool:
    return metric not in CATALOGUE or CATALOGUE[metric].has_ratio


def _rank(pair: Pair) -> tuple[float, bool, float, Fraction]:
    """By the lower end; of pairs that may be equal, by how small the overlap is."""
    return pair.difference.low, pair.apart > 0, pair.signed.low, pair.apart


def _ratio_rank(pair: Pair) -> tuple[float, bool, float]:
    ratio, signed = pair.ratio, pair.signed_ratio
    if ratio is None or signed is None:
        return 1.0, True, math.inf
    return ratio.high, pair.apart == 0, signed.high
