"""Columns of groups as codes, alone and crossed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcore.audit.table.options import crossed
from fedcore.audit.tables.crossing import ATTRIBUTE_MARK, cross, crossed_codes
from fedcore.audit.tables.groups import UNKNOWN
from fedcore.errors import DataError
from fedcore.tasks.tabular.columns import Numeric
from fedcore.tasks.tabular.table import Table

MOST_GROUPS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Coded:
    """A column as positions in a vocabulary; int64, shape ``(rows,)``."""

    vocabulary: tuple[str, ...]
    codes: NDArray[np.int64]

    def select(self, rows: NDArray[np.bool_]) -> Coded:
        return Coded(vocabulary=self.vocabulary, codes=self.codes[rows])


def groups_of(table: Table, groups: Iterable[str], bands: Mapping[str, tuple[float, ...]]) -> dict[str, Coded]:
    """Return each attribute's groups, and those of ``a*b``.

    Args:
        bands: Rising edges between groups for columns of numbers; a value equal to an edge is in the group above.

    Raises:
        DataError: A column has too many values, or cannot be crossed or split into bands.
    """
    found: dict[str, Coded] = {}
    for group in groups:
        parts = {
            name: banded_column(table, name, bands[name]) if name in bands else coded_column(table, name)
            for name in crossed(group)
        }
        found[ATTRIBUTE_MARK.join(parts)] = crossing(parts) if len(parts) > 1 else parts[group.strip()]
    return found


def crossing(parts: dict[str, Coded]) -> Coded:
    """Return the crossing of columns, with the combinations that occur, and "unknown" last."""
    vocabularies = {name: coded.vocabulary for name, coded in parts.items()}
    if np.prod([len(vocabulary) for vocabulary in vocabularies.values()], dtype=np.float64) > 1e6:
        raise DataError(f"{ATTRIBUTE_MARK.join(parts)} has too many combinations of groups to be audited")
    full = cross(vocabularies)
    codes = crossed_codes(vocabularies, {name: coded.codes for name, coded in parts.items()})
    kept = np.bincount(codes, minlength=len(full)) > 0
    kept[-1] = True
    if kept.sum() > MOST_GROUPS + 1:
        raise DataError(
            f"{ATTRIBUTE_MARK.join(parts)} has {kept.sum() - 1} combinations, too many to be groups (at most "
            f"{MOST_GROUPS}); cross fewer columns, or put numbers into bands with --bands"
        )
    return Coded(
        vocabulary=tuple(group for group, keep in zip(full, kept.tolist(), strict=True) if keep),
        codes=(np.cumsum(kept) - 1)[codes],
    )


def coded_column(table: Table, name: str) -> Coded:
    """Return a column's groups in order; empty cells and "unknown" are "unknown", the last."""
    words = table.words(name)
    known = in_order([value for value in words.values if value.lower() != UNKNOWN])
    if len(known) > MOST_GROUPS:
        raise DataError(
            f"column {name!r} of {table.source} has {len(known)} different values, too many to be groups (at most "
            f"{MOST_GROUPS}); put numbers into bands with --bands {name}=EDGE,EDGE"
        )
    return Coded(
        vocabulary=(*known, UNKNOWN),
        codes=words.positions(tuple(known), outside=len(known), missing=len(known)),
    )


def banded_column(table: Table, name: str, edges: tuple[float, ...]) -> Coded:
    """Return a column of numbers as bands; empty cells and "unknown" are "unknown"."""
    words, numbers = table.words(name), table.numbers(name)
    known_words = tuple(value for value in words.values if value.lower() != UNKNOWN)
    known = words.positions(known_words, outside=-1, missing=-1) >= 0
    if np.isnan(numbers[known]).any():
        raise DataError(f"column {name!r} of {table.source} has cells that are not numbers; cannot split it into bands")
    groups = Numeric(name=name, range=(0, 1), bands=edges).groups
    place = np.searchsorted(np.array(edges), np.nan_to_num(numbers), side="right")
    return Coded(vocabulary=groups, codes=np.where(known, place, len(groups) - 1).astype(np.int64))


def in_order(values: tuple[str, ...] | list[str]) -> list[str]:
    """Sort numbers by size, words by alphabet."""
    try:
        return sorted(values, key=float)
    except ValueError:
        return sorted(values)
