"""Other rows that the same few lists might have held: the parametric bootstrap on counts by group and score."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fedcore.audit.ranked_lists import Array, Codes, Parts, RankedCells, Top, tallies
from fedcore.audit.resampling import NUM_DRAWS, resampled

_SINGLE_RANKS, _GROWTH = 512, 1.02
_AT_ONCE = 2_000_000  # numbers in memory for each sum


def draws_of(
    cells: RankedCells, weights: Array, top: Top, num_groups: int, *, generator: np.random.Generator
) -> dict[str, Array]:
    """Return the sums of ``tallies`` by group, shape (draws, groups), of lists with other rows.

    Each list keeps its number of rows; their groups, scores and relevance are drawn anew, together, from those in the
    list, so that cut and ranks are others in each draw, and so is how many of a group compete. Ranks beyond 512 are put
    together by one part in fifty, which moves the draws by less than a tenth of their spread.
    """
    coarse, counts = _joined(cells, weights, num_groups)
    by_group = Parts.by(coarse.groups)
    found: dict[str, list[Array]] = {}
    for drawn in _resampled(coarse, counts, generator):
        for name, sums in tallies(coarse, drawn, top, by_group).items():
            found.setdefault(name, []).append(sums)
    return {name: _widened(np.concatenate(parts), by_group.keys, num_groups) for name, parts in found.items()}


def _resampled(cells: RankedCells, counts: NDArray[np.int64], generator: np.random.Generator) -> Iterator[Array]:
    by_list = Parts.by(cells.lists)
    members = np.split(by_list.order, by_list.starts[1:])
    step = max(1, _AT_ONCE // len(counts))
    for start in range(0, NUM_DRAWS, step):
        draws = min(step, NUM_DRAWS - start)
        drawn = np.zeros((draws, len(counts)))
        for part in members:
            drawn[:, part] = resampled(counts[None, part], generator=generator, draws=draws)[0]
        yield drawn


def _joined(cells: RankedCells, weights: Array, num_groups: int) -> tuple[RankedCells, NDArray[np.int64]]:
    """Return cells of equal list, bin of ranks, group and relevance as one, with their rows."""
    block = np.add.reduceat(weights, cells.first_cells)
    reached = np.cumsum(block) - block
    ranks = reached - reached[cells.first_points][cells.list_of_point]
    bins = np.where(
        ranks < _SINGLE_RANKS,
        ranks,
        _SINGLE_RANKS + np.floor(np.log(np.maximum(ranks, _SINGLE_RANKS) / _SINGLE_RANKS) / np.log(_GROWTH)),
    ).astype(np.int64)
    grade = np.zeros(len(weights), np.int64)
    if cells.relevance is not None:
        grade = np.searchsorted(cells.grades, cells.relevance)
    keys = np.stack([cells.lists, bins[cells.points], cells.groups, grade])
    (lists, place, groups, grade), cell = np.unique(keys, axis=1, return_inverse=True)
    new = (np.diff(lists, prepend=-1) != 0) | (np.diff(place, prepend=-1) != 0)
    coarse = RankedCells(
        lists=lists,
        points=np.cumsum(new) - 1,
        groups=groups,
        relevance=None if cells.relevance is None else cells.grades[grade],
    )
    return coarse, np.bincount(cell.ravel(), weights=weights).astype(np.int64)


def _widened(sums: Array, groups: Codes, num_groups: int) -> Array:
    found = np.zeros((len(sums), num_groups))
    found[:, groups] = sums
    return found
