"""Every gap of a table split over the sites that its rows come from.

No count of a site is shown. On the screen sites are named, each with enough rows of both groups with its own
gap, since the user has the rows. If small cells are hidden, as in files to share, a split is released as that of a run
over its clients, and only if every site with both groups has enough rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from fedcore.audit.metrics.catalogue import shown_in
from fedcore.audit.metrics.rates import Rate, group_rates
from fedcore.audit.sites.decomposition import SiteSplit
from fedcore.audit.sites.site_splits import FEWEST_SITES, enough_sites, sites_over, splits_of, unnamed_json
from fedcore.audit.table.labels import decision_table
from fedcore.audit.table.options import MIN_CELL
from fedcore.audit.table.result import TableResult
from fedcore.audit.table.rows import Labels, Rows
from fedcore.audit.tables.counting import counted

DECIMALS = 3

Splits = dict[str, dict[str, "SiteSplit | None"]]


def site_splits(result: TableResult[Labels]) -> Splits:
    """Return ``{attribute: {metric: split}}`` of the highest and the lowest group that are shown.

    None without a gap, or if the split would reveal sites of too few rows, or too few sites.
    """
    if result.rows.site is None:
        return {}
    found: Splits = {}
    for attribute, audit in result.audits.items():
        judged = replace(audit, settings=replace(audit.settings, min_cell=_fewest(result)))
        found[attribute] = splits_of(judged, _rates_by_site(result.rows, attribute), result.metrics)
    if not _shared(result):
        return found
    return {
        attribute: {
            metric: split if split and enough_sites(split) and not split.small else None
            for metric, split in splits.items()
        }
        for attribute, splits in found.items()
    }


def _shared(result: TableResult[Labels]) -> bool:
    """Whether small cells are hidden, so that sites are not named either."""
    return result.settings.min_cell > 1


def _fewest(result: TableResult[Labels]) -> int:
    """Rows of a group that a site needs to be judged by itself, also when nothing is hidden."""
    return MIN_CELL if result.options.min_cell is None else result.options.min_cell


def splits_json(result: TableResult[Labels], splits: Splits) -> dict[str, Any]:
    """Return ``{attribute: {metric: {...}}}`` with the parts as numbers, null without a split."""
    if _shared(result):
        return {attribute: unnamed_json(result.audits[attribute], found) for attribute, found in splits.items()}
    return {
        attribute: {
            metric: None if split is None else _json(result, attribute, metric, split)
            for metric, split in by_metric.items()
        }
        for attribute, by_metric in splits.items()
    }


def split_lines(result: TableResult[Labels], attribute: str) -> Iterator[str]:
    if result.rows.site is None:
        return
    found = site_splits(result)[attribute]
    without: dict[str, list[str]] = {}
    for metric in [name for name in shown_in("sites") if name in found] or ["accuracy"]:
        split = found.get(metric)
        if split is not None:
            yield from _words(result, attribute, metric, split)
        else:
            without.setdefault(_why_none(result, attribute, metric), []).append(metric.replace("_", " "))
    yield from (f"{', '.join(metrics)} over sites: {reason}" for reason, metrics in without.items())


def _why_none(result: TableResult[Labels], attribute: str, metric: str) -> str:
    gap = result.audits[attribute].shown_gaps[metric]
    if gap.highest is None:
        return "no split, because fewer than two groups that are shown have a rate"
    if not gap.difference:
        return "no split, because there is no gap between the groups that are shown"
    why = f"not shown, because the part at sites of one group only rests on fewer than {_fewest(result)} rows"
    if not _shared(result):
        return f"{why} (--min-cell)"
    return f"{why}, a site has fewer of a group, or fewer than {FEWEST_SITES} sites have both (--min-cell)"


def _rates_by_site(rows: Rows[Labels], attribute: str) -> dict[str, dict[str, dict[str, Rate]]]:
    if rows.site is None:
        return {}
    table = decision_table(rows, attribute)
    shape = (len(rows.site.vocabulary), *table.counts.shape)
    codes = (rows.groups[attribute].codes, rows.outcomes.shown_truth, rows.outcomes.selected)
    cells = np.ravel_multi_index((rows.site.codes, *codes), shape)
    counts = counted(cells, size=math.prod(shape), weights=rows.weights).reshape(shape)
    return {
        site: group_rates(replace(table, counts=own))
        for site, own in zip(rows.site.vocabulary, counts, strict=True)
        if own.any()
    }


def _json(result: TableResult[Labels], attribute: str, metric: str, split: SiteSplit) -> dict[str, Any]:
    gap, odds = result.audits[attribute].shown_gaps[metric], split.odds_ratio
    return {
        "highest": gap.highest,
        "lowest": gap.lowest,
        "gap": float(split.gap),
        "within": float(split.within),
        "between": float(split.between),
        "no_overlap": float(split.no_overlap),
        "odds_ratio": {"value": odds.value, "low": odds.low, "high": odds.high, "n": odds.n},
        "site_gaps": {site: round(float(one), DECIMALS) for site, one in split.site_gaps.items()},
        "not_judged": {"one_group_only": list(split.alone), "too_few_rows": list(split.small)},
        "over_limit": [
            {"limit": limit.words, **counts, "judged": len(split.judged)}
            for limit, counts in sites_over(result.audits[attribute], metric, split)
        ],
    }


def _words(result: TableResult[Labels], attribute: str, metric: str, split: SiteSplit) -> Iterator[str]:
    gap = result.audits[attribute].shown_gaps[metric]
    parts = f"{_points(split.within)} within sites, {_points(split.between)} between them"
    if split.alone:
        parts += f", {_points(split.no_overlap)} at sites of one group only"
    yield (
        f"{metric.replace('_', ' ')} over sites: {gap.highest} over {gap.lowest} {_points(split.gap)} points = {parts}"
    )
    odds = split.odds_ratio
    if odds.value is not None and odds.low is not None and odds.high is not None:
        yield f"  odds ratio common to the sites {odds.value:.2f} ({odds.low:.2f} to {odds.high:.2f})"
    if _shared(result):
        if split.alone:
            yield f"  one of the two groups is missing at {len(split.alone)} sites"
    else:
        yield from _named_words(result, split)
    for limit, counts in sites_over(result.audits[attribute], metric, split):
        if not _shared(result) or len(split.judged) >= FEWEST_SITES:
            yield (
                f"  over the limit ({limit.words}): {counts['sites']} of {len(split.judged)} sites that can be judged; "
                f"beyond chance {counts['over_beyond_chance']} over it and {counts['within_beyond_chance']} within"
            )


def _named_words(result: TableResult[Labels], split: SiteSplit) -> Iterator[str]:
    if split.judged:
        yield f"  by site: {', '.join(f'{site} {_points(one)}' for site, one in split.site_gaps.items())}"
    if split.alone:
        yield f"  cannot be judged, one of the two groups is missing: {', '.join(split.alone)}"
    if split.small:
        yield f"  cannot be judged, fewer than {_fewest(result)} rows of a group: {', '.join(split.small)}"


def _points(share: Fraction) -> str:
    return f"{100 * float(share):+.1f}"
