"""Every gap of an attribute split over sites, and what may be released of it without naming a site."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import comb
from typing import Any

from fedcore.audit.metrics.rates import Rate
from fedcore.audit.sites.decomposition import SiteSplit, split_over_sites
from fedcore.audit.verdict.attribute_audit import AttributeAudit
from fedcore.audit.verdict.limits import Limit

FEWEST_SITES = 3
"""Results without names need this many sites: of two, either could subtract itself."""
_DECIMALS, _ODDS_DECIMALS = 3, 2

Splits = Mapping[str, SiteSplit | None]
SiteTables = Mapping[str, Mapping[str, Mapping[str, Rate]]]
"""``{site: {metric: {group: rate}}}``."""


def splits_of(audit: AttributeAudit, by_site: SiteTables, metrics: Iterable[str]) -> dict[str, SiteSplit | None]:
    """Split each metric's gap between its two named groups, over shown groups.

    None without a gap, or if the part without overlap rests on fewer than ``min_cell`` rows.
    """
    found: dict[str, SiteSplit | None] = {}
    settings = audit.settings
    for metric in metrics:
        gap = audit.shown_gaps[metric]
        found[metric] = None
        if gap.highest is None or gap.lowest is None or not gap.difference:
            continue
        sites = {site: (rates[metric][gap.highest], rates[metric][gap.lowest]) for site, rates in by_site.items()}
        split = split_over_sites(
            sites,
            min_cell=settings.min_cell,
            confidence=settings.confidence,
            num_pairs=comb(len(gap.groups_compared), 2),
        )
        few = sum(first.n + second.n for site, (first, second) in sites.items() if site in split.alone)
        found[metric] = None if 0 < few < settings.min_cell else split
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class OverLimit:
    """The judged sites' own gaps against a limit.

    Attributes:
        over: Sites whose estimate is beyond it, some by chance.
        over_beyond_chance: Sites whose whole interval is beyond it, all judged sites at once.
        within_beyond_chance: Sites whose whole interval keeps it.
    """

    limit: Limit
    over: int
    over_beyond_chance: int
    within_beyond_chance: int

    @property
    def beyond_chance(self) -> dict[str, int]:
        return {
            "over_beyond_chance": self.over_beyond_chance,
            "within_beyond_chance": self.within_beyond_chance,
        }


def sites_over(audit: AttributeAudit, metric: str, split: SiteSplit) -> Iterator[OverLimit]:
    """Return for each limit on this metric how many judged sites break it, and how many beyond chance."""
    for limit in audit.settings.limits:
        if limit.metric == metric and limit.attribute in ("*", audit.attribute):
            named = replace(limit, attribute=audit.attribute)
            if limit.kind == "difference" and limit.at_most is not None:
                yield _over_difference(named, limit.at_most, split)
            elif limit.kind == "ratio" and limit.at_least is not None:
                yield _under_ratio(named, limit.at_least, split)


def _over_difference(limit: Limit, bound: Fraction, split: SiteSplit) -> OverLimit:
    intervals = split.difference_intervals()
    return OverLimit(
        limit=limit,
        over=split.num_over(bound),
        over_beyond_chance=sum(one.low > bound for one in intervals),
        within_beyond_chance=sum(one.high <= bound for one in intervals),
    )


def _under_ratio(limit: Limit, bound: Fraction, split: SiteSplit) -> OverLimit:
    intervals = split.ratio_intervals()
    return OverLimit(
        limit=limit,
        over=split.num_under(bound),
        over_beyond_chance=sum(one.high < bound for one in intervals),
        within_beyond_chance=sum(one.low >= bound for one in intervals),
    )


def unnamed_json(audit: AttributeAudit, splits: Splits) -> dict[str, Any]:
    """Return ``{metric: {...}}`` of what may be released without naming sites, null if nothing may.

    Guarantee: no site is named and no gap of a site is among the numbers. A split is released if ``FEWEST_SITES`` sites
    or more have rows of both groups, or none has; and how many sites are over a limit, by estimates and beyond chance,
    if as many can be judged. The parts have three decimals, ``between`` as what the others leave of the gap, and
    the odds ratio two: in full precision the counts of three small sites could be searched for.
    """
    return {
        metric: None if split is None or not enough_sites(split) else _unnamed(audit, metric, split)
        for metric, split in splits.items()
    }


def enough_sites(split: SiteSplit) -> bool:
    """Whether enough sites have both groups for a split without names, or none has."""
    return len(split.judged) + len(split.small) not in range(1, FEWEST_SITES)


def _unnamed(audit: AttributeAudit, metric: str, split: SiteSplit) -> dict[str, Any]:
    gap, odds, judged = audit.shown_gaps[metric], split.odds_ratio, len(split.judged)
    within, apart = round(float(split.within), _DECIMALS), round(float(split.no_overlap), _DECIMALS)
    return {
        "highest": gap.highest,
        "lowest": gap.lowest,
        "gap": float(split.gap),
        "within": within,
        "between": float(split.gap) - within - apart,
        "no_overlap": apart,
        "odds_ratio": {name: _rounded(getattr(odds, name)) for name in ("value", "low", "high")},
        "judged": judged,
        "not_judged": {"one_group_only": len(split.alone), "too_few_rows": len(split.small)},
        "over_limit": [_unnamed_over(one, judged) for one in sites_over(audit, metric, split)],
    }


def _unnamed_over(one: OverLimit, judged: int) -> dict[str, Any]:
    counts = {"sites": one.over, **one.beyond_chance}
    released = counts if judged >= FEWEST_SITES else dict.fromkeys(counts)
    return {"limit": one.limit.words, **released, "judged": judged}


def _rounded(end: float | None) -> float | None:
    return None if end is None else round(end, _ODDS_DECIMALS)
