"""Ranked lists as sums: places at the top, exposure, and pairs in the right order, by group and list.

Rows of equal score are taken in random order, and everything is its expected value over these orders, in closed
form: of m equal rows after a others, each reaches the first K places with chance ``(K - a) / m`` (cut to 0 and 1),
is exposed as the mean of the ranks a + 1 to a + m, and wins half of the pairs with the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedcore.errors import DataError

Array = NDArray[np.float64]
Codes = NDArray[np.int64]

MOST_GRADES = 20
"""Pairs are compared where there are no more different relevances."""

_EXACT_RANKS = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Top:
    """How many places are the top of a list.

    Attributes:
        places: So many places, or below 1 that share of the list, rounded down and at least one place.
    """

    places: Fraction

    def of(self, sizes: Array) -> Array:
        """Return the places at the top of lists of so many rows."""
        if self.places >= 1:
            return np.full(sizes.shape, float(self.places))
        share = [max(1, int(size) * self.places.numerator // self.places.denominator) for size in sizes.ravel()]
        return np.array(share, dtype=np.float64).reshape(sizes.shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class RankedCells:
    """Rows, or cells of rows alike, as lists show them: by list, and within one by falling score.

    Attributes:
        lists: Number of the list, rising from 0 without a hole; int64 of shape (cells,), as all the others.
        points: Number of the list and score together, rising from 0.
        groups: Position in the vocabulary of groups.
        relevance: What the row is worth, 0 or more, float64; None where that is not known.
    """

    lists: Codes
    points: Codes
    groups: Codes
    relevance: Array | None

    @cached_property
    def first_cells(self) -> Codes:
        """First cell of every point."""
        return np.flatnonzero(np.diff(self.points, prepend=-1))

    @cached_property
    def list_of_point(self) -> Codes:
        """The list of every point."""
        return self.lists[self.first_cells]

    @cached_property
    def first_points(self) -> Codes:
        """First point of every list."""
        return np.flatnonzero(np.diff(self.list_of_point, prepend=-1))

    @cached_property
    def grades(self) -> Array:
        """Different relevances, rising."""
        return np.unique(self.relevance) if self.relevance is not None else np.zeros(0)

    @property
    def paired(self) -> bool:
        """Whether pairs of different relevance can be compared."""
        return 2 <= len(self.grades) <= MOST_GRADES


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parts:
    """Cells put into disjoint parts, such as lists and groups, to be summed.

    Attributes:
        order: Cells by part.
        starts: First position of every part in that order.
        keys: What the parts are, rising.
    """

    order: Codes
    starts: Codes
    keys: Codes

    @classmethod
    def by(cls, keys: Codes) -> Parts:
        """Return the parts of cells of equal key."""
        order = np.argsort(keys, kind="stable")
        starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
        return cls(order=order, starts=starts, keys=keys[order][starts])

    def sums(self, values: Array) -> Array:
        """Return the sums, shape (..., parts), of values of shape (..., cells)."""
        return np.asarray(np.add.reduceat(values[..., self.order], self.starts, axis=-1))


def ranked_cells(
    lists: Codes, scores: Array, groups: Codes, relevance: Array | None = None
) -> tuple[RankedCells, Codes]:
    """Return rows in the order of their lists, and the row that each place in this order comes from.

    Args:
        lists: Number of each row's list, shape (rows,); each number from 0 to the highest occurs.
        scores: Finite; higher scores come first.
        groups: Position of each row's group.
        relevance: What each row is worth, 0 or more.

    Raises:
        DataError: A score or a relevance is not finite, or a relevance is negative.
    """
    if not np.isfinite(scores).all():
        raise DataError("a score is not a number; a ranking needs finite scores")
    if relevance is not None and not (np.isfinite(relevance) & (relevance >= 0)).all():
        raise DataError("a relevance is no number of 0 or more")
    order = np.lexsort((-scores, lists))
    lists, scores = lists[order], scores[order]
    new = (np.diff(lists, prepend=-1) != 0) | (np.diff(scores, prepend=np.inf) != 0)
    cells = RankedCells(
        lists=lists,
        points=np.cumsum(new) - 1,
        groups=groups[order],
        relevance=None if relevance is None else relevance[order],
    )
    return cells, order


def tallies(cells: RankedCells, weights: Array, top: Top, parts: Parts) -> dict[str, Array]:
    """Return what the measures are ratios of, summed over parts; several weightings at once are allowed.

    ``rows``; ``top``: expected rows among the first places; ``fair``: what that were if the list were in random
    order; ``seen``: exposure, the sum of ``1 / log2(1 + rank)``. With relevance ``relevance``, and where pairs are
    compared ``pairs`` of a row and one of less relevance in its list; ``won``, those in which it is ranked higher; the
    same ``_within`` a group and ``_across`` two; ``ahead``, rows with such a pair.
    Source: for exposure and its ratio to relevance Singh and Joachims (2018), "Fairness of exposure in rankings",
    KDD '18, arXiv 1802.07281; for pairs Beutel et al. (2019), "Fairness in recommendation ranking through pairwise
    comparisons", KDD '19, arXiv 1903.00780.

    Args:
        cells: In order.
        weights: Rows of each cell, shape (..., cells).
        top: The places at the top.
        parts: To sum over.
    """
    found = {"rows": parts.sums(weights)}
    found |= {
        name: parts.sums(weights * value[..., cells.points]) for name, value in shown(cells, weights, top).items()
    }
    if cells.relevance is not None:
        found["relevance"] = parts.sums(weights * cells.relevance)
    if cells.paired:
        found |= {name: parts.sums(value) for name, value in _pairs(cells, weights).items()}
    return found


def shown(cells: RankedCells, weights: Array, top: Top) -> dict[str, Array]:
    """Return ``top``, ``fair`` and ``seen`` of ``tallies`` for one row of each point, shape (..., points)."""
    ahead, block, total = _around(cells, weights)
    cut = top.of(_per_list(cells, block))[..., cells.list_of_point]
    rows = np.maximum(block, 1)  # a point without rows is weighed by 0
    return {
        "top": np.clip((cut - ahead) / rows, 0, 1),
        "fair": cut / total,
        "seen": (discounts(ahead + block) - discounts(ahead)) / rows,
    }


def summed(keys: Codes, values: Array, *, size: int) -> Array:
    """Return the sum of the values of each key from 0 to ``size - 1``."""
    return np.bincount(keys, weights=values, minlength=size).astype(np.float64)


def discounts(ranks: Array) -> Array:
    """Return ``sum of 1 / log2(1 + j) for j = 1 to rank``, for whole ranks of 0 or more.

    Beyond 65,536 it is the integral around each rank, ``ln 2 (li(rank + 3/2) - li(65,536 + 3/2))``, which is off by
    less than 1e-8 in all.
    """
    from scipy.special import expi

    first = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, _EXACT_RANKS + 2)))])
    near = first[np.minimum(ranks, _EXACT_RANKS).astype(np.int64)]
    if ranks.max(initial=0) <= _EXACT_RANKS:
        return near
    beyond = expi(np.log(np.maximum(ranks, _EXACT_RANKS) + 1.5)) - expi(np.log(_EXACT_RANKS + 1.5))
    return np.asarray(near + np.log(2) * beyond)


def _around(cells: RankedCells, values: Array) -> tuple[Array, Array, Array]:
    """Return for every point the sum over higher points of its list, over itself, and over the whole list."""
    block = np.add.reduceat(values, cells.first_cells, axis=-1)
    before = np.cumsum(block, axis=-1) - block
    ahead = before - before[..., cells.first_points][..., cells.list_of_point]
    return ahead, block, _per_list(cells, block)[..., cells.list_of_point]


def _per_list(cells: RankedCells, block: Array) -> Array:
    return np.asarray(np.add.reduceat(block, cells.first_points, axis=-1))


def _pairs(cells: RankedCells, weights: Array) -> dict[str, Array]:
    """Return pairs by the cell of the more relevant row."""
    won, pairs = _compared(cells, weights)
    won_within, pairs_within = np.zeros_like(weights), np.zeros_like(weights)
    for group in np.unique(cells.groups):
        own = np.flatnonzero(cells.groups == group)
        won_within[..., own], pairs_within[..., own] = _compared(_only(cells, own), weights[..., own])
    return {
        "won": won,
        "pairs": pairs,
        "won_within": won_within,
        "pairs_within": pairs_within,
        "won_across": won - won_within,
        "pairs_across": pairs - pairs_within,
        "ahead": weights * (pairs > 0),
    }


def _compared(cells: RankedCells, weights: Array) -> tuple[Array, Array]:
    """Return for every cell its pairs with rows of less relevance in the list: those won, and all."""
    won, pairs = np.zeros_like(weights), np.zeros_like(weights)
    for grade in cells.grades[1:]:
        mine = np.flatnonzero(cells.relevance == grade)
        ahead, block, total = _around(cells, weights * (cells.relevance < grade))
        points, own = cells.points[mine], weights[..., mine]
        won[..., mine] = own * (total - ahead - block / 2)[..., points]
        pairs[..., mine] = own * total[..., points]
    return won, pairs


def _only(cells: RankedCells, kept: Codes) -> RankedCells:
    """Return some of the cells, with lists and points numbered anew."""
    return RankedCells(
        lists=_numbered(cells.lists[kept]),
        points=_numbered(cells.points[kept]),
        groups=cells.groups[kept],
        relevance=None if cells.relevance is None else cells.relevance[kept],
    )


def _numbered(rising: Codes) -> Codes:
    return np.asarray(np.cumsum(np.diff(rising, prepend=rising[:1]) != 0))
