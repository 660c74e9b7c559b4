"""Every gap of an attribute split over sites, and what may be released of it without naming a site."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
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


def sites_over(audit: AttributeAudit, metric: str, split: SiteSplit) -> Iterator[tuple[Limit, dict[str, int]]]:
    """Return for each limit on this metric how many judged sites break it, and how many beyond chance."""
    for limit in audit.settings.limits:
        if limit.metric == metric and limit.attribute in ("*", audit.attribute) and limit.kind != "worst-group":
            yield replace(limit, attribute=audit.attribute), split.against(limit)


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
        "odds_ratio": {
            name: None if (end := getattr(odds, name)) is None else round(end, _ODDS_DECIMALS)
            for name in ("value", "low", "high")
        },
        "judged": judged,
        "not_judged": {"one_group_only": len(split.alone), "too_few_rows": len(split.small)},
        "over_limit": [
            {"limit": limit.words, **(counts if judged >= FEWEST_SITES else dict.fromkeys(counts)), "judged": judged}
            for limit, counts in sites_over(audit, metric, split)
        ],
    }
