"""A table's columns as ranked lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcore.audit.groups import UNKNOWN
from fedcore.audit.ranked_lists import MOST_GRADES, Top, summed
from fedcore.errors import DataError
from fedcore.tasks.table_file import Table
from fedcore_simulations.bias_audit.grouping import Coded, groups_of
from fedcore_simulations.bias_audit.kept_rows import DROP, dropped_notes, table_of
from fedcore_simulations.bias_audit.options import BiasOptions
from fedcore_simulations.bias_audit.ranking_options import top_of
from fedcore_simulations.bias_audit.rows import refuse, weights_of


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedRows:
    """The rows of a table; all arrays have shape ``(rows,)``.

    Attributes:
        source: The file's name.
        lines: Lines of the file.
        lists: Number of each row's list, from 0, int64.
        scores: float64; the highest comes first.
        relevance: What a row is worth, 0 or more, float64; None without a label.
        weights: How many rows each line stands for, int64; lines of none are left out.
        groups: For each attribute and crossing its groups, "unknown" last.
        top: The places at the top.
        dropped: Rows that were left out, by the column that they lack.
    """

    source: str
    lines: int
    lists: NDArray[np.int64]
    scores: NDArray[np.float64]
    relevance: NDArray[np.float64] | None
    weights: NDArray[np.int64]
    groups: dict[str, Coded]
    top: Top
    dropped: Mapping[str, int]

    @property
    def sizes(self) -> NDArray[np.float64]:
        """Rows of each list."""
        return summed(self.lists, self.weights.astype(np.float64), size=0)


def read_ranking(options: BiasOptions) -> RankedRows:
    """Read a table's columns.

    Raises:
        DataError: The file is no table or lacks a column, a cell cannot be read, a list is too short, or a group
            meets no other in any list.
    """
    table, dropped = table_of(options)
    weights = weights_of(table, options.weight)
    lists, kept = _lists(table, options.list_column), weights > 0
    found = RankedRows(
        source=table.source,
        lines=len(table),
        lists=np.unique(lists[kept], return_inverse=True)[1].astype(np.int64),
        scores=_finite(table, options.score)[kept],
        relevance=None if options.label is None else _relevance(table, options.label)[kept],
        weights=weights[kept],
        groups={
            name: Coded(vocabulary=coded.vocabulary, codes=coded.codes[kept])
            for name, coded in groups_of(table, options.groups, dict(options.bands)).items()
        },
        top=top_of(options),
        dropped=dropped,
    )
    _check_sizes(found)
    for attribute, coded in found.groups.items():
        _check_met(found, attribute, coded)
    return found


def notes_of(rows: RankedRows) -> Iterator[str]:
    """Yield what a reader must know beside the numbers."""
    yield from dropped_notes(rows.dropped)
    if rows.relevance is not None and len(np.unique(rows.relevance)) > MOST_GRADES:
        yield f"pairwise accuracy is left out: the relevance has more than {MOST_GRADES} different values"
    if rows.relevance is not None and len(np.unique(rows.relevance)) < 2:
        yield "pairwise accuracy is left out: every row is of the same relevance"
    for attribute, coded in rows.groups.items():
        apart = _apart(rows, coded)
        if apart:
            named = "; ".join(f"{a} and {b}" for a, b in apart[:5]) + ("; …" if len(apart) > 5 else "")
            yield f"{attribute}: never in one list, and so compared only by way of other groups: {named}"


def _lists(table: Table, name: str | None) -> NDArray[np.int64]:
    if name is None:
        return np.zeros(len(table), dtype=np.int64)
    words = table.words(name)
    refuse(table, name, words.codes < 0, "empty; every row needs a list")
    return words.codes


def _finite(table: Table, name: str | None) -> NDArray[np.float64]:
    if name is None:
        raise DataError("no column of scores")
    numbers = table.numbers(name)
    refuse(table, name, table.words(name).codes < 0, f"empty; every row needs one, or {DROP}")
    refuse(table, name, ~np.isfinite(numbers), "no number")
    return numbers


def _relevance(table: Table, name: str) -> NDArray[np.float64]:
    numbers = table.numbers(name)
    refuse(table, name, table.words(name).codes < 0, f"empty; every row needs one, or {DROP}")
    refuse(table, name, ~np.isfinite(numbers), "no number; the label of a ranking is a relevance, as 0 and 1")
    refuse(table, name, numbers < 0, "negative; a relevance is 0 or more")
    return numbers


def _check_sizes(rows: RankedRows) -> None:
    """Refuse lists in which nothing is ranked, or all of whose rows are at the top."""
    sizes = rows.sizes
    if (single := int((sizes < 2).sum())) > 0:
        lists = "the list has" if len(sizes) == 1 else f"{single} of {len(sizes)} lists have"
        raise DataError(f"{rows.source}: {lists} one row only, which ranks nothing; leave them out")
    if (rows.top.of(sizes) >= sizes).any():
        raise DataError(
            f"{rows.source}: the top of {int(rows.top.places)} places leaves no row out of a list of "
            f"{int(sizes.min())} rows; give --top {int(sizes.min()) - 1} or less, or a share such as --top 0.1"
        )


def _check_met(rows: RankedRows, attribute: str, coded: Coded) -> None:
    met = _met(rows, coded)
    held, alone = np.diag(met), met.sum(axis=0) - np.diag(met) == 0
    lonely = [coded.vocabulary[g] for g in np.flatnonzero(held & alone)]
    if lonely and held.sum() > 1:
        raise DataError(
            f"{attribute}: {', '.join(lonely[:5])} never meets another group in one list, so that its places cannot be "
            "compared; leave it out, or give lists that hold several groups"
        )


def _apart(rows: RankedRows, coded: Coded) -> list[tuple[str, str]]:
    """Return the pairs of known groups that are never in one list."""
    met = _met(rows, coded)
    held, names = np.diag(met), coded.vocabulary
    return [(names[a], names[b]) for a, b in np.argwhere(np.triu(~met, 1)).tolist() if held[a] and held[b]]


def _met(rows: RankedRows, coded: Coded) -> NDArray[np.bool_]:
    """Tell of every two known groups whether a list holds both; on the diagonal, whether the group has rows."""
    from scipy.sparse import csr_array

    known = np.flatnonzero(coded.codes != coded.vocabulary.index(UNKNOWN))
    shape = (int(rows.lists.max()) + 1, len(coded.vocabulary))
    held = csr_array((np.ones(len(known)), (rows.lists[known], coded.codes[known])), shape=shape)
    return np.asarray((held.T @ held).toarray() > 0)
