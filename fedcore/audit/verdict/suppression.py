"""Which groups and rates are hidden, so that nobody is found in a small cell.

A group of fewer than ``min_cell`` rows is hidden. Alone that does not protect: the total minus the groups
shown reveals it, and so do the margins of a crossing. So what is shown is read as a set of equations, as a reader
could; while they determine a small group, the smallest group that they need for it is hidden too.
Several hidden groups can reveal one another: the rest of a shown total without its shown parts is a group, too,
of people whom it names. If it is small, it is treated like one.
Source: Willenborg, L. and de Waal, T. (2001), "Elements of Statistical Disclosure Control", ch. 4 (primary
and secondary cell suppression; a cell is exposed if the additive relations determine it).

A rate has its own denominator: the true positive rate of a group of 500 may be that of one person. Given a
group's rows, selection rate and base rate, any one further rate determines all the others, since a table of two by two
with known margins has one free cell. So if one denominator of a group is small, the group is thin, and only metrics
over all its rows that leave the table open are shown: ``OF_ALL_ROWS``. Which other groups are thin with it, so
that totals do not reveal it, is found as for whole groups.

It does not hide bounds that follow from counts being 0 or more, or protect against what a reader knows from
elsewhere. Use noise where that matters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedcore.audit.metrics.catalogue import CATALOGUE
from fedcore.audit.tables.crossing import ATTRIBUTE_MARK, parts
from fedcore.audit.tables.groups import UNKNOWN

OF_ALL_ROWS = tuple(name for name, metric in CATALOGUE.items() if metric.shown_of_thin)
"""Shown of a thin group: rows predicted correctly and rows selected leave open which of the latter are correct.

Where they leave open less than ``min_cell`` rows, as where nobody is selected, only one of the two is shown.
"""

Cell = tuple[str, str]  # an attribute and one of its groups
Counts = tuple[int, ...]
Sizes = Mapping[str, Mapping[str, Counts]]
Sums = Mapping[Cell, NDArray[np.float64]]


class Secret(NamedTuple):
    """A set of few rows that must not follow from what is shown: the finest cells that it sums, 0 or 1 for each."""

    attribute: str
    members: NDArray[np.float64]


def suppressed_groups(sizes: Mapping[str, Mapping[str, int]], *, min_cell: int) -> dict[str, frozenset[str]]:
    """Return for every attribute the groups to hide: those of 1 to min_cell - 1 rows, and more to protect them.

    All attributes that are shown together must be given together: the sizes by ``sex`` and by ``race`` are
    the margins of ``sex*race``. Groups without rows are not hidden; they hold nobody. Sizes include "unknown".
    """
    return thin_groups({name: {g: (n,) for g, n in of.items()} for name, of in sizes.items()}, min_cell=min_cell)


def thin_groups(denominators: Sizes, *, min_cell: int) -> dict[str, frozenset[str]]:
    """Return for every attribute the groups with a rate of 1 to min_cell - 1 rows, and those that would reveal it.

    Args:
        denominators: For each attribute and group its rows, and the rows behind each of its rates.
    """
    hidden: set[Cell] = set()
    for attributes in linked(denominators):
        hidden |= _hide({attribute: denominators[attribute] for attribute in attributes}, min_cell)
    return {
        attribute: frozenset(group for group in groups if (attribute, group) in hidden)
        for attribute, groups in denominators.items()
    }


def is_small(counts: Iterable[int], min_cell: int) -> bool:
    """Whether one of the counts is of 1 to min_cell - 1 rows."""
    return any(0 < count < min_cell for count in counts)


def linked(attributes: Iterable[str]) -> list[list[str]]:
    """Return the attributes in blocks that share no part: blocks reveal nothing of one another."""
    blocks: list[set[str]] = []
    for attribute in attributes:
        names = set(attribute.split(ATTRIBUTE_MARK))
        names.update(*(block for block in blocks if block & names))
        blocks = [block for block in blocks if not block & names] + [names]
    return [[a for a in attributes if set(a.split(ATTRIBUTE_MARK)) <= block] for block in blocks]


def _hide(sizes: Sizes, min_cell: int) -> set[Cell]:
    filled = {(a, group): size for a, groups in sizes.items() for group, size in groups.items() if any(size)}
    small = sorted(cell for cell, size in filled.items() if is_small(size, min_cell))
    sums, hidden = _sums(sizes), set(small)
    secrets = [Secret(cell[0], sums[cell]) for cell in small]
    while (cell := _next_to_hide(filled, secrets, hidden, sums, min_cell)) is not None:
        hidden.add(cell)
    for cell in sorted(hidden.difference(small), key=filled.__getitem__, reverse=True):
        if _next_to_hide(filled, secrets, hidden - {cell}, sums, min_cell) is None:
            hidden.remove(cell)  # hidden on the way, and not needed in the end
    return hidden


def _next_to_hide(
    filled: Mapping[Cell, Counts], secrets: list[Secret], hidden: set[Cell], sums: Sums, min_cell: int
) -> Cell | None:
    """Return the smallest group from which a secret can be computed, of the same attribute if there is one.

    A group that is found to be small and left over becomes a secret, too.
    """
    shown = [cell for cell in filled if cell not in hidden]
    secrets += _small_rests(filled, shown, sums, min_cell)
    for secret, needed in zip(secrets, _derivations(shown, secrets, sums), strict=True):
        if needed:
            return min(needed, key=lambda cell: (cell[0] != secret.attribute, filled[cell], cell))
    return None


def _small_rests(filled: Mapping[Cell, Counts], shown: list[Cell], sums: Sums, min_cell: int) -> Iterator[Secret]:
    """Yield what the shown parts of a shown total leave of it, if few rows.

    The totals are all rows and every shown group; its parts are the groups of any one attribute within it.
    With noise, totals are not the sums of their parts in other attributes, and reveal no such rest.
    """
    attributes = dict.fromkeys(attribute for attribute, _ in filled)
    of_all = {a: np.sum([size for cell, size in filled.items() if cell[0] == a], axis=0) for a in attributes}
    exact = len({int(counts[0]) for counts in of_all.values()}) == 1
    for attribute in attributes:
        own = [cell for cell in shown if cell[0] == attribute]
        others = [cell for cell in shown if exact and cell[0] != attribute]
        if own:
            parts, sizes = np.stack([sums[cell] for cell in own]), np.array([filled[cell] for cell in own])
            totals = np.stack([np.ones_like(parts[0]), *(sums[cell] for cell in others)])
            inside = (totals @ parts.T == parts.sum(axis=1)).astype(np.int64)
            rests = np.array([of_all[attribute], *(filled[cell] for cell in others)]) - inside @ sizes
            for rest, members, within in zip(rests.tolist(), totals - inside @ parts, inside, strict=True):
                if within.any() and rest[0] > 0 and is_small(rest, min_cell) and members.any():
                    yield Secret(attribute, members)


def _derivations(shown: list[Cell], wanted: list[Secret], sums: Sums) -> list[list[Cell]]:
    """Return for each secret the shown groups it can be computed from, empty if it cannot be."""
    if not wanted:
        return []
    targets = np.stack([secret.members for secret in wanted], axis=1)
    known = np.stack([np.ones(len(targets)), *(sums[cell] for cell in shown)], axis=1)
    weights = np.linalg.lstsq(known, targets, rcond=None)[0]
    determined = np.abs(known @ weights - targets).max(axis=0) < 1e-6
    return [
        [cell for cell, weight in zip(shown, column[1:], strict=True) if found and abs(weight) > 1e-6]
        for column, found in zip(weights.T, determined.tolist(), strict=True)
    ]


def _sums(sizes: Sizes) -> Sums:
    """Return each group as the finest cells that it sums, 0 or 1 for each.

    The finest cells are all combinations of the parts' values, unknown ones too, except those in a group
    without rows: a reader knows that these are empty.
    """
    groups = {(attribute, group): parts(attribute, group) for attribute in sizes for group in sizes[attribute]}
    values: dict[str, dict[str, None]] = {}
    for of_parts in groups.values():
        for name, value in of_parts.items():
            values.setdefault(name, {UNKNOWN: None})[value] = None
    finest = [dict(zip(values, combination, strict=True)) for combination in product(*values.values())]
    members = {cell: np.array([_is_in(one, cell[1], groups[cell]) for one in finest]) for cell in groups}
    empty = [members[attribute, group] for attribute, group in groups if not any(sizes[attribute][group])]
    filled = ~np.logical_or.reduce([*empty, np.zeros(len(finest), dtype=np.bool_)])
    return {cell: member[filled].astype(np.float64) for cell, member in members.items()}


def _is_in(finest: Mapping[str, str], group: str, of_parts: Mapping[str, str]) -> bool:
    if group == UNKNOWN:
        return any(finest[name] == UNKNOWN for name in of_parts)
    return all(finest[name] == value for name, value in of_parts.items())
