"""Every gap of an attribute split over sites, and what of it may be told without naming a site."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from fedcore.audit.attribute_audit import AttributeAudit
from fedcore.audit.limits import Limit
from fedcore.audit.rates import Rate
from fedcore.audit.sites import SiteSplit, split_over_sites

FEWEST_SITES = 3
"""What is told without names rests on this many sites: of two, either could subtract itself."""
_DECIMALS, _ODDS_DECIMALS = 3, 2

Splits = Mapping[str, SiteSplit | None]
SiteTables = Mapping[str, Mapping[str, Mapping[str, Rate]]]
"""``{site: {metric: {group: rate}}}``."""


def splits_of(audit: AttributeAudit, by_site: SiteTables, metrics: Iterable[str]) -> dict[str, SiteSplit | None]:
    """Split each metric's gap between the highest and the lowest of the groups that are shown.

    Returns:
        For each metric its split; None where there is no gap, or where the part without overlap rests on fewer
        than ``min_cell`` rows.
    """
    found: dict[str, SiteSplit | None] = {}
    settings = audit.settings
    for metric in metrics:
        gap = audit.shown_gaps[metric]
        found[metric] = None
        if gap.highest is None or gap.lowest is None or gap.highest == gap.lowest:
            continue
        sites = {site: (rates[metric][gap.highest], rates[metric][gap.lowest]) for site, rates in by_site.items()}
        split = split_over_sites(sites, min_cell=settings.min_cell, confidence=settings.confidence)
        few = sum(first.n + second.n for site, (first, second) in sites.items() if site in split.alone)
        found[metric] = None if 0 < few < settings.min_cell else split
    return found


def sites_over(audit: AttributeAudit, metric: str, split: SiteSplit) -> Iterator[tuple[Limit, int]]:
    """Return each limit on this metric with the number of judged sites whose own gap breaks it."""
    for limit in audit.settings.limits:
        if limit.metric == metric and limit.kind != "worst-group" and limit.attribute in ("*", audit.attribute):
            over = split.num_over(limit.at_most) if limit.at_most is not None else 0
            under = split.num_under(limit.at_least) if limit.at_least is not None else 0
            yield replace(limit, attribute=audit.attribute), over or under


def unnamed_json(audit: AttributeAudit, splits: Splits) -> dict[str, Any]:
    """Return ``{metric: {...}}`` of what may be told where sites must not be, null where nothing may.

    Guarantee: no site is named and no gap of a site is among the numbers. A split is told if ``FEWEST_SITES`` sites
    or more have rows of both groups, or none has, and a number of sites over a limit if as many can be judged. The
    parts are told to three decimals, ``between`` as what the others leave of the gap, and the odds ratio to two:
    in full precision the counts of three small sites could be searched for.

    Args:
        audit: Of the attribute, for its limits.
        splits: As ``splits_of`` returns them.
    """
    return {
        metric: None if split is None or not _enough(split) else _unnamed(audit, metric, split)
        for metric, split in splits.items()
    }


def _enough(split: SiteSplit) -> bool:
    return len(split.site_gaps) + len(split.small) not in range(1, FEWEST_SITES)


def _unnamed(audit: AttributeAudit, metric: str, split: SiteSplit) -> dict[str, Any]:
    gap, odds, judged = audit.shown_gaps[metric], split.odds_ratio, len(split.site_gaps)
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
        "over_limit": [
            {"limit": limit.words, "sites": over if judged >= FEWEST_SITES else None, "judged": judged}
            for limit, over in sites_over(audit, metric, split)
        ],
    }


def _rounded(end: float | None) -> float | None:
    return None if end is None else round(end, _ODDS_DECIMALS)
