"""A gap between two groups split over sites: the part within sites, and the part from where people go.

A gap over all sites may be far larger or smaller than that at any of them, or of the other sign (Simpson 1951,
J. R. Stat. Soc. B 13:238-241), because groups are spread over sites unequally.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from fedcore.audit.metrics.estimates import Measure
from fedcore.audit.metrics.metric import Kind
from fedcore.audit.metrics.rates import Rate
from fedcore.audit.statistics.intervals import Interval, difference_interval, koopman_interval, normal_quantile
from fedcore.audit.statistics.pairs import at_most_one, unsigned
from fedcore.audit.verdict.limits import Limit
from fedcore.errors import DataError

SiteRates = Mapping[str, tuple[Rate, Rate]]
"""For each site the rates of the two groups."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSplit:
    """The gap of two groups, first minus second, as an exact sum of three parts.

    Guarantee: ``gap == within + between + no_overlap``, exactly; and ``gap`` is the difference of the rates
    over all sites.

    Attributes:
        within: What remains if both groups were spread over the sites equally.
        between: What remains if each site served both groups equally.
        no_overlap: The part from sites with only one of the two groups; it is neither.
        judged: Rates of the two groups at each site with enough rows of both.
        small: Sites with both, but one of them in too few rows to be judged.
        odds_ratio: Odds of the first over those of the second, common to the sites (Mantel and Haenszel).
        confidence: With which the ``intervals`` of one kind hold at all judged sites at once, whichever two groups
            were chosen, of as many pairs as were compared.
        num_pairs: Pairs of groups that these two were chosen from.
    """

    gap: Fraction
    within: Fraction
    between: Fraction
    no_overlap: Fraction
    judged: SiteRates
    alone: tuple[str, ...]
    small: tuple[str, ...]
    odds_ratio: Measure
    confidence: float
    num_pairs: int

    @property
    def site_gaps(self) -> dict[str, Fraction]:
        """First minus second at each judged site."""
        return {site: _exact(first) - _exact(second) for site, (first, second) in self.judged.items()}

    def intervals(self, kind: Kind) -> list[Interval]:
        """Return the interval of each judged site: of its absolute gap, or of the lower over the higher rate."""
        each = 1 - (1 - self.confidence) / (self.num_pairs * max(1, len(self.judged)))  # Bonferroni; Dunn 1961
        of, folded = (difference_interval, unsigned) if kind == "difference" else (koopman_interval, at_most_one)
        return [
            folded(of(*first.evidence, *second.evidence, confidence=each)) for first, second in self.judged.values()
        ]

    def against(self, limit: Limit) -> dict[str, int]:
        """Return how many judged sites are beyond a limit on the gap or the ratio.

        ``sites`` are those whose estimate is, some by chance; ``over_beyond_chance`` those whose whole interval is, and
        ``within_beyond_chance`` those whose whole interval keeps the limit, all judged sites at once.
        """
        ends = self.intervals(limit.kind)
        if (most := limit.at_most) is not None:
            over = [abs(gap) > most for gap in self.site_gaps.values()]
            surely, within = [one.low > most for one in ends], [one.high <= most for one in ends]
        else:
            least = limit.at_least or Fraction(0)
            over = [_ratio(_exact(first), _exact(second)) < least for first, second in self.judged.values()]
            surely, within = [one.high < least for one in ends], [one.low >= least for one in ends]
        return {"sites": sum(over), "over_beyond_chance": sum(surely), "within_beyond_chance": sum(within)}


def split_over_sites(sites: SiteRates, *, min_cell: int = 1, confidence: float = 0.95, num_pairs: int = 1) -> SiteSplit:
    """Split the gap of two groups over sites.

    With the shares ``p_k`` and ``q_k`` of either group's rows at site k, and rates ``r_k`` and ``s_k`` there,
    within is ``sum (p_k + q_k) / 2 (r_k - s_k)`` and between ``sum (p_k - q_k) (r_k + s_k) / 2`` over the
    sites that have both groups. Source: Kitagawa, E. M. (1955), J. Am. Stat. Assoc. 50:1168-1194.

    Args:
        min_cell: Sites with fewer rows of a group are in the sums, but not judged by themselves.
        confidence: Of the odds ratio's interval, and of all sites' intervals together.
        num_pairs: Number of pairs from which this one was chosen for its large gap.

    Raises:
        DataError: One of the groups has no rows at any site.
    """
    totals = [sum(rates[side].n for rates in sites.values()) for side in (0, 1)]
    if not all(totals):
        raise DataError("a gap can be split over sites only if both groups have rows at some")
    parts = {"within": Fraction(0), "between": Fraction(0), "no_overlap": Fraction(0)}
    judged: dict[str, tuple[Rate, Rate]] = {}
    alone: list[str] = []
    small: list[str] = []
    for site, (first, second) in sites.items():
        p, q = Fraction(first.n, totals[0]), Fraction(second.n, totals[1])
        r, s = first.fraction, second.fraction
        if r is None or s is None:
            parts["no_overlap"] += p * (r or 0) - q * (s or 0)
            alone += [site] if first.n or second.n else []
            continue
        parts["within"] += (p + q) / 2 * (r - s)
        parts["between"] += (p - q) * (r + s) / 2
        if min(first.n, second.n) < min_cell:
            small.append(site)
        else:
            judged[site] = first, second
    return SiteSplit(
        gap=sum(parts.values(), Fraction(0)),
        judged=judged,
        alone=tuple(alone),
        small=tuple(small),
        odds_ratio=common_odds_ratio(sites, confidence=confidence),
        confidence=confidence,
        num_pairs=num_pairs,
        **parts,
    )


def _exact(rate: Rate) -> Fraction:
    return Fraction(rate.successes, rate.n)


def _ratio(r: Fraction, s: Fraction) -> Fraction:
    return min(r, s) / max(r, s) if r or s else Fraction(1)


def common_odds_ratio(sites: SiteRates, *, confidence: float) -> Measure:
    """Return the odds ratio of the first group to the second, common to all sites; undefined as ``x / 0``.

    Source: Mantel, N. and Haenszel, W. (1959), J. Natl. Cancer Inst. 22:719-748; the interval from the
    variance of its logarithm by Robins, Breslow and Greenland (1986), Biometrics 42:311-323.
    """
    strata = [_stratum(first, second) for first, second in sites.values() if first.n and second.n]
    above = sum((R for _, _, R, _ in strata), Fraction(0))
    below = sum((S for _, _, _, S in strata), Fraction(0))
    rows = sum(first.n + second.n for first, second in sites.values() if first.n and second.n)
    if not below:
        return Measure(value=None, low=None, high=None, n=0)
    value = float(above / below)
    if not above:
        return Measure(value=value, low=None, high=None, n=rows)
    variance = (
        sum(P * R for P, _, R, _ in strata) / (2 * above**2)
        + sum(P * S + Q * R for P, Q, R, S in strata) / (2 * above * below)
        + sum(Q * S for _, Q, _, S in strata) / (2 * below**2)
    )
    factor = math.exp(normal_quantile(confidence) * math.sqrt(variance))
    return Measure(value=value, low=value / factor, high=value * factor, n=rows)


def _stratum(first: Rate, second: Rate) -> tuple[Fraction, Fraction, Fraction, Fraction]:
    a, b = first.successes, first.n - first.successes
    c, d = second.successes, second.n - second.successes
    n = first.n + second.n
    return Fraction(a + d, n), Fraction(b + c, n), Fraction(a * d, n), Fraction(b * c, n)
