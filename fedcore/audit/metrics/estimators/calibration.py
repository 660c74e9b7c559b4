"""Whether scores can be read as probabilities: Brier score, calibration error and calibration curves."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcore.audit.metrics.estimates import UNDEFINED, Estimate, Spread
from fedcore.audit.statistics.intervals import Interval, normal_quantile, share_interval, wilson_interval
from fedcore.audit.statistics.resampling import resampled, upper_quantile
from fedcore.audit.tables.scores import ScoreTable

NUM_BINS = 10
"""Bins of the calibration error."""
Bins = NDArray[np.float64]
"""Rows of one group in bins of rising score: sum of scores, favourable labels and number, shape (bins, 3)."""


def bins_json(bins: Bins, confidence: float) -> list[dict[str, Any]]:
    """Return the mean score of each bin, and its share of favourable labels with an interval."""
    found = []
    for scores, favourable, n in bins.tolist():
        share = wilson_interval(favourable, n, confidence=confidence)
        found.append({"score": scores / n, "value": favourable / n, "low": share.low, "high": share.high, "n": int(n)})
    return found


def calibration_curves(table: ScoreTable) -> list[Bins]:
    """Return each group's rows in ten equal bins of rising score."""
    counts, means = table.binned(NUM_BINS)
    scores = (np.nan_to_num(means) * counts).sum(axis=1)
    return list(np.stack([scores, counts[:, 1], counts.sum(axis=1)], axis=-1))


def joined(curves: Mapping[str, Bins], shown: Collection[str], *, min_cell: int) -> dict[str, Bins]:
    """Join neighbouring bins, the same for every group, until none holds 1 to ``min_cell`` - 1 rows.

    Leaving small ones out is not enough: the group's own rates would reveal them. Neither is joining each group by
    itself: if another attribute has all rows of a bin, the other groups' would reveal it. So the sum of the groups that
    are not shown is checked, too. Bins without rows are left out of the shown curves.
    """
    kept = {group: bins for group, bins in curves.items() if group in shown}
    rest = sum((bins[:, 2] for group, bins in curves.items() if group not in shown), np.zeros(NUM_BINS))
    edges = _edges(np.stack([*(bins[:, 2] for bins in kept.values()), rest]), min_cell)
    joins = {
        group: np.stack([sum(bins[low + 1 : high], bins[low]) for low, high in pairwise(edges)])
        for group, bins in kept.items()
    }
    return {group: bins[bins[:, 2] > 0] for group, bins in joins.items()}


def _edges(counts: NDArray[np.float64], min_cell: int) -> list[int]:
    """Return where bins begin and end, so that no row of counts (groups, bins) has a bin of few rows."""
    edges = [0]
    for end in range(1, counts.shape[1] + 1):
        if not _few(counts[:, edges[-1] : end], min_cell):
            edges.append(end)
    while edges[-1] < counts.shape[1] and len(edges) > 1:  # the last rows are too few, and go to those before
        edges.pop()
        edges += [] if _few(counts[:, edges[-1] :], min_cell) else [counts.shape[1]]
    return edges if len(edges) > 1 else [0, counts.shape[1]]


def _few(counts: NDArray[np.float64], min_cell: int) -> bool:
    together = counts.sum(axis=1)
    return bool(((together > 0) & (together < min_cell)).any())


def brier_score(points: NDArray[np.float64], counts: NDArray[np.int64]) -> Estimate:
    """Return the mean squared distance of score and label, with a score interval of a bounded mean.

    Wilson's interval for as many rows as would have this variance if each distance were 0 or 1, the largest variance
    there is. Scores have shape (points,), rows by label and point (2, points).
    """
    n = int(counts.sum())
    if not n:
        return UNDEFINED
    squares = np.stack([points**2, (1 - points) ** 2])
    value = float((counts * squares).sum() / n)
    variance = max(0.0, float((counts * squares**2).sum() / n) - value * value)
    rows = n * value * (1 - value) / variance if variance > 1e-15 else n
    return Estimate(value=value, n=n, spread=lambda confidence: share_interval(value, rows, confidence=confidence))


def calibration_errors(table: ScoreTable, *, generator: np.random.Generator) -> list[Estimate]:
    """Return each group's expected calibration error, over ten equal bins of scores.

    ``sum_b n_b / n |share of favourable labels in b - mean score in b|``. Chance alone makes it positive, so
    that its interval reaches further down than up: by the bootstrap's quantile of
    ``sum_b |distance in b - its estimate|``, which the error is off by at most (triangle inequality), and by
    its normal error upwards.
    Source: Naeini, Cooper and Hauskrecht (2015), AAAI, "Obtaining well calibrated probabilities".
    """
    counts, means = table.binned(NUM_BINS)
    groups = len(counts)
    drawn = resampled(counts.reshape(groups, -1), generator=generator).reshape(groups, -1, 2, NUM_BINS)
    found = []
    for own, mean, others in zip(counts, np.nan_to_num(means), drawn, strict=True):
        if not own.sum():
            found.append(UNDEFINED)
            continue
        value, (errors, away) = float(_errors(own, mean)[0]), _errors(others, mean, about=own)
        found.append(Estimate(value=value, n=int(own.sum()), spread=_lopsided(value, errors, away)))
    return found


def _errors(
    counts: NDArray[np.int64], means: NDArray[np.float64], *, about: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the error of each table of shape (..., 2, bins), and the distance of its bins from those of ``about``."""
    own = _distances(counts, means)
    there = own if about is None else _distances(about, means)
    return np.abs(own).sum(axis=-1), np.abs(own - there).sum(axis=-1)


def _distances(counts: NDArray[np.int64], means: NDArray[np.float64]) -> NDArray[np.float64]:
    away = counts[..., 1, :] - (counts * means).sum(axis=-2)
    return np.asarray(away / counts.sum(axis=(-2, -1))[..., None])


def _lopsided(value: float, errors: NDArray[np.float64], away: NDArray[np.float64]) -> Spread:
    deviation = float(errors.std())

    def ends(confidence: float) -> Interval:
        return Interval(
            low=max(0.0, value - upper_quantile(away, confidence)),
            high=min(1.0, value + normal_quantile(confidence) * deviation),
        )

    return ends
