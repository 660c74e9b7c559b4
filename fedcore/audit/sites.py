"""A gap between two groups split over sites: how much of it is inside the sites, and how much is where people go.

A gap over all sites may be far larger or smaller than that at any of them, or of the other sign (Simpson 1951,
J. R. Stat. Soc. B 13:238-241), because groups are spread over sites unequally.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from fedcore.audit.estimates import Measure
from fedcore.audit.intervals import normal_quantile
from fedcore.audit.rates import Rate
from fedcore.errors import DataError

SiteRates = Mapping[str, tuple[Rate, Rate]]
"""For each site the rates of the two groups."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSplit:
    """The gap of two groups, first minus second, as an exact sum of three parts.

    Guarantee: ``gap == within + between + no_overlap``, exactly; and ``gap`` is the difference of the rates
    over all sites.

    Attributes:
        gap: Rate of the first group minus that of the second, over all sites.
        within: What remains if both groups were spread over the sites alike.
        between: What remains if each site served both groups alike.
        no_overlap: What comes from sites that have one of the two groups only; it is neither.
        site_gaps: First minus second at each site that has enough rows of both.
        site_ratios: The lower over the higher rate there; 1 where both are 0, for they are alike.
        alone: Sites that have one of the two groups only.
        small: Sites that have both, but one of them in too few rows to be judged.
        odds_ratio: Odds of the first over those of the second, common to the sites (Mantel and Haenszel).
    """

    gap: Fraction
    within: Fraction
    between: Fraction
    no_overlap: Fraction
    site_gaps: Mapping[str, Fraction]
    site_ratios: Mapping[str, Fraction]
    alone: tuple[str, ...]
    small: tuple[str, ...]
    odds_ratio: Measure

    def num_over(self, limit: Fraction) -> int:
        """Return at how many of the judged sites the gap is larger than the limit, in either direction."""
        return sum(abs(gap) > limit for gap in self.site_gaps.values())

    def num_under(self, limit: Fraction) -> int:
        """Return at how many of the judged sites the ratio is less than the limit, in either direction."""
        return sum(ratio < limit for ratio in self.site_ratios.values())


def split_over_sites(sites: SiteRates, *, min_cell: int = 1, confidence: float = 0.95) -> SiteSplit:
    """Split the gap of two groups over sites.

    With the shares ``p_k`` and ``q_k`` of either group's rows at site k, and rates ``r_k`` and ``s_k`` there,
    within is ``sum (p_k + q_k) / 2 (r_k - s_k)`` and between ``sum (p_k - q_k) (r_k + s_k) / 2`` over the
    sites that have both groups. Source: Kitagawa, E. M. (1955), J. Am. Stat. Assoc. 50:1168-1194.

    Args:
        sites: Rates of the first and the second group at every site.
        min_cell: A site with fewer rows of a group is not judged by itself; it is in the sums all the same.
        confidence: Of the odds ratio's interval.

    Raises:
        DataError: One of the groups has no rows at any site.
    """
    totals = [sum(rates[side].n for rates in sites.values()) for side in (0, 1)]
    if not all(totals):
        raise DataError("a gap can be split over sites only if both groups have rows at some")
    parts = {"within": Fraction(0), "between": Fraction(0), "no_overlap": Fraction(0)}
    judged: dict[str, tuple[Fraction, Fraction]] = {}
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
            judged[site] = r, s
    return SiteSplit(
        gap=sum(parts.values(), Fraction(0)),
        site_gaps={site: r - s for site, (r, s) in judged.items()},
        site_ratios={site: min(r, s) / max(r, s) if r or s else Fraction(1) for site, (r, s) in judged.items()},
        alone=tuple(alone),
        small=tuple(small),
        odds_ratio=common_odds_ratio(sites, confidence=confidence),
        **parts,
    )


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
    """Return the terms P, Q, R and S of Robins, Breslow and Greenland."""
    a, b = first.successes, first.n - first.successes
    c, d = second.successes, second.n - second.successes
    n = first.n + second.n
    return Fraction(a + d, n), Fraction(b + c, n), Fraction(a * d, n), Fraction(b * c, n)
