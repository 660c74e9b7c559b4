"""How far apart two groups' scores lie, whatever the labels: Kolmogorov-Smirnov and Wasserstein distance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from fedcore.audit.metrics.estimates import Estimate
from fedcore.audit.metrics.group_gaps import pair_confidence
from fedcore.audit.metrics.parity import Parity
from fedcore.audit.statistics.intervals import Interval
from fedcore.audit.statistics.resampling import resampled, upper_quantile
from fedcore.audit.tables.groups import UNKNOWN
from fedcore.audit.tables.scores import ScoreTable

NUM_BINS = 64
"""Bins in which scores are counted again for the intervals."""

Pair = tuple[str, str]


def score_shifts(table: ScoreTable, *, generator: np.random.Generator) -> dict[str, dict[Pair, Estimate]]:
    """Return both distances of every pair of groups with rows, but "unknown".

    ``kolmogorov_smirnov`` is the largest difference between the shares of rows under a score, in [0, 1];
    ``wasserstein`` the area between the two curves of these shares, in units of the score. Chance alone makes
    both positive. The interval is ``distance +- q``, where q is the bootstrap's quantile of the same distance
    between the difference of two curves and its estimate: by the triangle inequality the distance is off by at most
    that, also for equal groups.

    Source: for the bootstrap Giné, E. and Zinn, J. (1990), Ann. Probab. 18:851-869; for the second distance
    Ramdas, Garcia and Cuturi (2017), Entropy 19:47.
    """
    rows = table.counts.sum(axis=1)
    shares = np.cumsum(rows, axis=-1) / np.maximum(rows.sum(axis=-1, keepdims=True), 1)
    steps = np.diff(table.points, append=table.points[-1])
    coarse = table.binned(NUM_BINS)[0].sum(axis=1)
    drawn = resampled(coarse, generator=generator)
    others = np.cumsum(drawn, axis=-1) / np.maximum(coarse.sum(axis=-1), 1)[:, None, None]
    own = np.cumsum(coarse, axis=-1) / np.maximum(coarse.sum(axis=-1, keepdims=True), 1)
    low, high = table.edges
    width = np.full(NUM_BINS, (high - low) / NUM_BINS)
    known = [g for g, group in enumerate(table.groups) if group != UNKNOWN and rows[g].any()]
    found: dict[str, dict[Pair, Estimate]] = {"kolmogorov_smirnov": {}, "wasserstein": {}}
    for a, b in combinations(known, 2):
        pair, n = (table.groups[a], table.groups[b]), int(rows[a].sum() + rows[b].sum())
        gap = np.abs(shares[a] - shares[b])
        away = np.abs(others[a] - others[b] - (own[a] - own[b]))
        found["kolmogorov_smirnov"][pair] = _estimate(float(gap.max()), away.max(axis=-1), n, most=1.0)
        found["wasserstein"][pair] = _estimate(float(gap @ steps), away @ width, n, most=high - low)
    return found


def worst_shift(
    pairs: Mapping[Pair, Estimate], means: Mapping[str, float], groups: Sequence[str], *, confidence: float
) -> Parity:
    """Return the clearest distance between two groups: the largest lower end.

    ``highest`` has the higher mean score. If every interval reaches 0, it is the pair with the most rows.
    """
    kept = {pair: estimate for pair, estimate in pairs.items() if set(pair) <= set(groups)}
    if not kept:
        return Parity()
    each = pair_confidence(confidence, len({group for pair in kept for group in pair}))
    found = {pair: estimate.measure(each) for pair, estimate in kept.items()}
    surest = max(found, key=lambda pair: (found[pair].low or 0.0, -(found[pair].high or 0.0)))
    lowest, highest = sorted(surest, key=means.__getitem__)
    return Parity(
        difference=found[surest].value,
        low=found[surest].low,
        high=found[surest].high,
        highest=highest,
        lowest=lowest,
        over_all_pairs={
            "difference": max(one.value or 0.0 for one in found.values()),
            "low": found[surest].low,
            "high": max(one.high or 0.0 for one in found.values()),
        },
    )


def mean_scores(table: ScoreTable) -> dict[str, float]:
    rows = table.counts.sum(axis=1)
    return {
        group: float(own @ table.points / own.sum()) for group, own in zip(table.groups, rows, strict=True) if own.any()
    }


def _estimate(value: float, away: NDArray[np.float64], n: int, *, most: float) -> Estimate:
    def ends(confidence: float) -> Interval:
        far = upper_quantile(away, confidence)
        return Interval(low=max(0.0, value - far), high=min(most, value + far))

    return Estimate(value=value, n=n, spread=ends)
