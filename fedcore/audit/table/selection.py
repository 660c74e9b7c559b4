"""From which score a row is selected."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedcore.audit.table.options import BiasOptions


def threshold_of(options: BiasOptions) -> float | None:
    """Return the score from which a row is selected; None where decisions or the median say it."""
    return None if options.score is None or options.cuts_at_median else chosen_threshold(options)[0]


def chosen_threshold(options: BiasOptions) -> tuple[float, list[str]]:
    """Return the threshold, and what a reader must know where nobody gave one."""
    if options.threshold is not None:
        return options.threshold, []
    low, high = options.score_range
    middle = (low + high) / 2
    return middle, [f"selected: score at least {middle:g}, the middle of the range; --threshold says otherwise"]


def weighted_median(scores: NDArray[np.float64], weights: NDArray[np.int64]) -> float:
    """Return the median of scores that stand for several rows each: the mean of the two in the middle."""
    order = np.argsort(scores, kind="stable")
    reached, total = np.cumsum(weights[order]), int(weights.sum())
    lower, upper = (int(np.searchsorted(reached, place, side="left")) for place in ((total + 1) // 2, total // 2 + 1))
    return float((scores[order[lower]] + scores[order[upper]]) / 2)
