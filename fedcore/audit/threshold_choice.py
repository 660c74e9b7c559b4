"""Which cut of the scores each group gets, so that a gap is closed at the least cost in accuracy.

Hardt, M., Price, E. and Srebro, N. (2016), "Equality of opportunity in supervised learning", NIPS, section 4, on
counts; Fairlearn's ``ThresholdOptimizer`` is the usual implementation. Both decide at random between two thresholds,
so that rates meet exactly. Here everyone is decided about by one threshold, and rates meet to within a tolerance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from fedcore.audit.score_cuts import ScoreCuts

CLOSED = 0.01
"""A gap within so much counts as closed: one point. Sampling moves it by more."""

CLOSABLE = ("selection_rate", "true_positive_rate")
"""Whose gaps thresholds can close. Equalized odds cannot be closed by them: a threshold is one point of a group's ROC
curve, and without decisions at random two curves meet where they cross, and where all or none are selected."""

_SLACK = 1e-12  # of floating point
_MOST_TIES = 1000


@dataclass(frozen=True, slots=True)
class _Ladder:
    """The cuts of one group that are considered, by rising rate, all arrays of shape (cuts,).

    Those that select all or none of the rows that the rate counts among are left out: a gap closed by deciding
    nothing is no remedy.
    """

    cuts: NDArray[np.int64]
    rates: NDArray[np.float64]
    right: NDArray[np.int64]
    among: int


def closing_cuts(counts: ScoreCuts, metric: str, groups: Sequence[str], *, usual: int) -> dict[str, int]:
    """Return the cuts of most rows decided rightly among those whose rates lie within the tolerance.

    The tolerance is ``CLOSED``, or one row of the smallest group, or what the cuts allow, whichever is largest. Among
    equals the narrowest gap is taken, and then the cuts nearest to the usual one.

    Args:
        counts: The rows to choose on.
        metric: One of ``CLOSABLE``.
        groups: Whom to choose for.
        usual: The cut for all.

    Returns:
        ``{group: cut}``, without groups for which there is nothing to choose; empty if fewer than two are left.
    """
    ladders = {group: _ladder(counts, metric, counts.groups.index(group)) for group in groups}
    ladders = {group: ladder for group, ladder in ladders.items() if len(ladder.cuts)}
    if len(ladders) < 2:
        return {}
    found = _best(list(ladders.values()), usual)
    return dict(zip(ladders, found, strict=True))


def _ladder(counts: ScoreCuts, metric: str, place: int) -> _Ladder:
    above, rows = counts.above()[place], counts.counts[place].sum(axis=1)
    selected, among = (above[1], rows[1]) if metric == "true_positive_rate" else (above.sum(axis=0), rows.sum())
    kept = np.flatnonzero((selected > 0) & (selected < among))[::-1]  # higher cuts select fewer
    right = above[1] + rows[0] - above[0]
    return _Ladder(cuts=kept + 1, rates=selected[kept] / max(1, among), right=right[kept], among=int(among))


def _best(ladders: list[_Ladder], usual: int) -> tuple[int, ...]:
    """Every window of rates as wide as the tolerance, from every rate on: within one, groups are chosen for alone."""
    starts = np.unique(np.concatenate([ladder.rates for ladder in ladders]))
    tolerance = max(CLOSED, _narrowest(ladders, starts), 1 / min(ladder.among for ladder in ladders)) + _SLACK
    low = [np.searchsorted(ladder.rates, starts - _SLACK, side="left") for ladder in ladders]
    high = [np.searchsorted(ladder.rates, starts + tolerance, side="right") for ladder in ladders]
    filled = np.logical_and.reduce([first < last for first, last in zip(low, high, strict=True)])
    low, high = [first[filled] for first in low], [last[filled] for last in high]
    most = sum(_most(ladder.right, *ends) for ladder, *ends in zip(ladders, low, high, strict=True))
    winners = np.flatnonzero(most == np.max(most))
    choices = {
        tuple(
            _nearest(ladder, int(first[window]), int(last[window]), usual)
            for ladder, first, last in zip(ladders, low, high, strict=True)
        )
        for window in islice(winners.tolist(), _MOST_TIES)
    }
    return _cuts(ladders, min(choices, key=lambda choice: _order(ladders, choice, usual)))


def _narrowest(ladders: list[_Ladder], starts: NDArray[np.float64]) -> float:
    """Return the narrowest window that holds a rate of every group."""
    width = np.zeros_like(starts)
    for ladder in ladders:
        reached = np.append(ladder.rates, np.inf)[np.searchsorted(ladder.rates, starts - _SLACK, side="left")]
        width = np.maximum(width, reached - starts)
    return float(width.min())


def _most(right: NDArray[np.int64], low: NDArray[np.int64], high: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the maximum of ``right[low:high]`` for each pair of ends."""
    ends = np.stack([low, high], axis=1).ravel()
    found: NDArray[np.int64] = np.maximum.reduceat(np.append(right, 0), ends)[::2]
    return found


def _nearest(ladder: _Ladder, low: int, high: int, usual: int) -> int:
    """Return the place of the most accurate cut of a window; of equals the one nearest to the usual."""
    within = range(low, high)
    return max(within, key=lambda i: (ladder.right[i], -abs(int(ladder.cuts[i]) - usual), -int(ladder.cuts[i])))


def _order(ladders: list[_Ladder], choice: tuple[int, ...], usual: int) -> tuple[float, int, tuple[int, ...]]:
    rates = [ladder.rates[place] for ladder, place in zip(ladders, choice, strict=True)]
    cuts = _cuts(ladders, choice)
    return float(max(rates) - min(rates)), sum(abs(cut - usual) for cut in cuts), cuts


def _cuts(ladders: list[_Ladder], choice: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(ladder.cuts[place]) for ladder, place in zip(ladders, choice, strict=True))


def not_closable(metric: str) -> str | None:
    """Return why thresholds cannot close the gap of a metric, or None where they can."""
    if metric in CLOSABLE:
        return None
    if metric == "equalized_odds":
        return (
            "without decisions at random a threshold for each group can only approach equalized odds; take "
            "true_positive_rate (equal opportunity) or selection_rate (demographic parity)"
        )
    return f"thresholds are chosen for {' or '.join(CLOSABLE)}, not for {metric!r}"
