"""Measures of rankings by group, with intervals.

Intervals rest on lists where there are ``MANY_LISTS`` or more, for lists are drawn independently and the rows of one
are not. Of fewer, the lists are taken as they are and their rows as the sample.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fedcore.audit.equal_terms import EqualTerms, equal_terms
from fedcore.audit.ranked_groups import RankedGroups
from fedcore.audit.ranked_lists import Array, Codes, Parts, RankedCells, Top, ranked_cells, summed, tallies
from fedcore.audit.ranking_draws import draws_of
from fedcore.audit.rankings import OF_SCORES, RANKED
from fedcore.audit.scores import ScoreTable

MANY_LISTS = 20


def measure_ranking(
    cells: RankedCells, weights: Array, top: Top, groups: tuple[str, ...], *, generator: np.random.Generator
) -> dict[str, RankedGroups]:
    """Measure all that can be: without relevance the first three measures, and pairs where there are few relevances.

    Args:
        cells: Rows in the order of their lists.
        weights: How many rows each stands for, at least one in every list.
        top: The places at the top.
        groups: The vocabulary.
        generator: Source of the bootstrap's draws, where lists are few.
    """
    by_list = Parts.by(cells.lists * len(groups) + cells.groups)
    found = tallies(cells, weights, top, by_list)
    group_of_part = by_list.keys % len(groups)
    totals = {name: summed(group_of_part, sums, size=len(groups)) for name, sums in found.items()}
    metrics = [metric for metric, of in RANKED.items() if {of.numerator, of.denominator} <= set(found)]
    terms = equal_terms(cells, weights, top, by_list, num_groups=len(groups))
    if cells.lists[-1] + 1 >= MANY_LISTS:
        return {metric: _over_lists(metric, groups, by_list.keys, found, totals, terms=terms) for metric in metrics}
    drawn = draws_of(cells, weights, top, len(groups), generator=generator)
    return {metric: _over_draws(metric, groups, drawn, totals, terms=terms) for metric in metrics}


def rank_scores(scores: ScoreTable, top: Top, *, generator: np.random.Generator) -> dict[str, RankedGroups]:
    """Measure the one list of all rows by their scores; rows of one point are of equal score.

    Args:
        scores: Counts over rising scores.
        top: The places at the top.
        generator: Source of the bootstrap's draws.

    Returns:
        The measures that need no relevance; none where the top leaves no row out.
    """
    rows = scores.counts.sum(axis=1)
    total = np.array([rows.sum()], dtype=np.float64)
    if top.of(total)[0] >= total[0]:
        return {}
    groups, points = np.nonzero(rows)
    cells, order = ranked_cells(np.zeros(len(groups), dtype=np.int64), scores.points[points], groups)
    weights = rows[groups, points][order].astype(np.float64)
    return measure_ranking(cells, weights, top, scores.groups, generator=generator)


def _over_lists(
    metric: str,
    groups: tuple[str, ...],
    keys: Codes,
    found: Mapping[str, Array],
    totals: Mapping[str, Array],
    *,
    terms: Mapping[str, EqualTerms],
) -> RankedGroups:
    """Leave out each list once (the jackknife): without list q the value of N / D moves by (v D_q - N_q) / (D - D_q).

    Source: Efron, B. and Tibshirani, R. (1993), "An introduction to the bootstrap", ch. 11.
    """
    of, num_groups = RANKED[metric], len(groups)
    group, num_lists = keys % num_groups, int(keys[-1]) // num_groups + 1
    own, whole = found[of.denominator], totals[of.denominator][group]
    with np.errstate(invalid="ignore", divide="ignore"):
        value = totals[of.numerator] / totals[of.denominator]
        moved = np.where(whole > own, (value[group] * own - found[of.numerator]) / (whole - own), 0.0)
    covariance = _products(np.nan_to_num(moved), keys, num_groups) * (num_lists - 1) / num_lists
    holding = np.where(own > 0, 1.0, 0.0)
    return RankedGroups(
        metric=metric,
        groups=groups,
        covariance=_widened(covariance, _least(metric, totals, terms)),
        degrees=_degrees(group, holding, terms[of.numerator].by_part if metric in OF_SCORES else own, num_groups),
        trials=summed(group, holding, size=num_groups),
        **_ratio(metric, totals),
    )


def _degrees(group: Codes, holding: Array, shares: Array, num_groups: int) -> Array:
    """Return the degrees of freedom of a variance to which lists add in these shares: 1 or more, but 0 of one list.

    A list of one group alone adds nothing to the variance of its places. Source: Satterthwaite, F. E. (1946), "An
    approximate distribution of estimates of variance components", Biometrics Bull. 2:110-114.
    """
    lists, whole, squared = (summed(group, power, size=num_groups) for power in (holding, shares, shares**2))
    effective = whole**2 / np.where(squared > 0, squared, 1.0)
    return np.where(lists > 1, np.maximum(effective - 1, 1.0), 0.0)


def _products(moved: Array, keys: Codes, num_groups: int) -> Array:
    """Return the sums over lists of the products of two groups' values; keys are list x groups + group."""
    from scipy.sparse import csr_array

    table = csr_array(
        (moved, (keys // num_groups, keys % num_groups)), shape=(int(keys[-1]) // num_groups + 1, num_groups)
    )
    return np.asarray((table.T @ table).toarray())


def _over_draws(
    metric: str,
    groups: tuple[str, ...],
    drawn: Mapping[str, Array],
    totals: Mapping[str, Array],
    *,
    terms: Mapping[str, EqualTerms],
) -> RankedGroups:
    """Take the covariance of the draws."""
    of = RANKED[metric]
    with np.errstate(invalid="ignore", divide="ignore"):
        values = drawn[of.numerator] / drawn[of.denominator]
    trials = _trials(of.most, totals)
    return RankedGroups(
        metric=metric,
        groups=groups,
        covariance=_widened(_covariance(values), _least(metric, totals, terms)),
        degrees=trials - 1,  # draws from few rows spread too little, as these rows do about their own mean
        trials=trials,
        **_ratio(metric, totals),
    )


def _least(metric: str, totals: Mapping[str, Array], terms: Mapping[str, EqualTerms]) -> Array:
    """Return the least variance of each group's value; 0 where nothing competes, as in pairs."""
    of = RANKED[metric]
    below = totals[of.denominator]
    if of.numerator not in terms:
        return np.zeros_like(below)
    return np.where(below > 0, terms[of.numerator].least / np.where(below > 0, below, 1.0) ** 2, 0.0)


def _covariance(values: Array) -> Array:
    """Return the covariance of draws, shape (draws, groups); draws in which one is undefined do not count for it."""
    defined = np.isfinite(values)
    zeroed = np.where(defined, values, 0.0)
    away = np.where(defined, zeroed - zeroed.sum(axis=0) / np.maximum(defined.sum(axis=0), 1), 0.0)
    together = defined.astype(np.float64)
    return np.asarray(away.T @ away / np.maximum(together.T @ together - 1, 1))


def _widened(covariance: Array, least: Array) -> Array:
    """Return the covariance with these variances at least, and the same correlations; -1 where there was none."""
    found = np.diag(covariance)
    wanted = np.sqrt(np.fmax(found, least))
    error = np.sqrt(np.where(found > 0, found, 1.0))
    correlation = np.where(np.outer(found > 0, found > 0), covariance / np.outer(error, error), -1.0)
    np.fill_diagonal(correlation, 1.0)
    return np.asarray(correlation * np.outer(wanted, wanted))


def _trials(most: str, totals: Mapping[str, Array]) -> Array:
    """Return the rows that a value of 0 or 1 rests on; of pairs the fewer of their two sides."""
    if most == "rows":
        return totals["rows"]
    return np.asarray(np.minimum(totals["ahead"], totals[most] / np.maximum(totals["ahead"], 1)))


def _ratio(metric: str, totals: Mapping[str, Array]) -> dict[str, Array]:
    of = RANKED[metric]
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = totals[of.most] / totals[of.denominator]
    return {
        "numerators": totals[of.numerator],
        "denominators": totals[of.denominator],
        "scale": scale,
        "rows": totals["rows"],
    }
