"""Reading a table without the rows to leave out, and its columns of groups and of numbers."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcore.audit.table.options import BiasOptions, crossed
from fedcore.audit.tables.crossing import ATTRIBUTE_MARK, cross, crossed_codes
from fedcore.audit.tables.groups import UNKNOWN
from fedcore.audit.verdict.profiles import PROFILES
from fedcore.errors import DataError
from fedcore.tasks.tabular.columns import Numeric
from fedcore.tasks.tabular.table import Table, read_table

MOST_GROUPS = 200
DROP = "give --missing drop to leave such rows out"
MOST_ROWS = 2**53
"""Up to here whole numbers are exact in float64, as counts and sums of them must be."""


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


def table_of(options: BiasOptions) -> Table:
    """Read the file; raises `DataError` if it is not a table or cannot be read."""
    path = options.table
    if path.is_file() and path.suffix.lower() not in {".csv", ".tsv", ".txt", ".data", ".parquet", ".pq"}:
        raise DataError(f"{path.name} is neither a .csv nor a .parquet file by its name; expected one of the two")
    remedy = "give its own with --encoding, as latin-1 or utf-16, or save it as CSV in UTF-8"
    return read_table(path, encoding=options.encoding, remedy=remedy)


def kept_rows(table: Table, options: BiasOptions) -> tuple[Table, dict[str, int]]:
    """Return the remaining rows, and the number left out by the column that lacks them.

    Raises:
        DataError: The table lacks a column, or no row is left.
    """
    check_columns(table, options.columns)
    if options.missing == "refuse":
        return table, {}
    kept = np.ones(len(table), dtype=np.bool_)
    dropped: dict[str, int] = {}
    for name in filter(None, (options.label, options.score, options.prediction)):
        empty = kept & (table.words(name).codes < 0)
        dropped |= {name: int(empty.sum())} if empty.any() else {}
        kept &= ~empty
    if not kept.any():
        raise DataError(f"every row of {table.source} lacks {' or '.join(dropped)}; with --missing drop none is left")
    return table.select(kept), dropped


def dropped_notes(dropped: Mapping[str, int]) -> list[str]:
    if not dropped:
        return []
    columns = ", ".join(f"{count:,} without {name}" for name, count in dropped.items())
    total = sum(dropped.values())
    return [f"left out (--missing drop): {total:,} row{'' if total == 1 else 's'}, {columns}"]


def check_columns(table: Table, columns: tuple[str, ...]) -> None:
    """Refuse a table that lacks a column, with the nearest name."""
    for name in columns:
        if name not in table.columns:
            lower = {column.lower(): column for column in table.columns}
            near = difflib.get_close_matches(name.lower(), lower, n=1)
            meant = f"did you mean {lower[near[0]]!r}? " if near else ""
            raise DataError(
                f"the table {table.source} has no column {name!r}; {meant}it has {', '.join(table.columns)}"
            )


def sampling_of(table: Table, options: BiasOptions) -> NDArray[np.float64] | None:
    """Return fractional weights, such as a survey's; None if all are whole.

    Raises:
        DataError: A cell is not a number of 0 or more, all are 0, or an option needs whole rows.
    """
    if options.weight is None:
        return None
    numbers = table.numbers(options.weight)
    if not np.isfinite(numbers).all() or (numbers < 0).any() or (numbers == np.floor(numbers)).all():
        return None  # errors are reported when whole weights are read
    unfit = {
        "--site": options.site is not None,
        f"--profile {options.profile}": options.profile in PROFILES and not PROFILES[options.profile].document,
    }
    asked = [name for name, given in unfit.items() if given]
    if asked:
        raise DataError(
            f"column {options.weight!r} of {table.source} holds fractional weights, and {' and '.join(asked)} counts "
            "people: give whole weights, or leave it out"
        )
    return numbers


def weights_of(table: Table, name: str | None) -> NDArray[np.int64]:
    """Return how many rows each line stands for: 1, or the number in a column.

    Raises:
        DataError: A cell is not a whole number of 0 or more, or all are 0, or they are too many to be counted.
    """
    if name is None:
        return np.ones(len(table), dtype=np.int64)
    numbers = table.numbers(name)
    refuse(table, name, ~np.isfinite(numbers), "no number")
    refuse(table, name, numbers < 0, "negative; a row stands for 0 rows or more")
    refuse(table, name, numbers != np.floor(numbers), "not a whole number; a row stands for whole rows")
    refuse(table, name, numbers > MOST_ROWS, f"over {MOST_ROWS:,}; so many rows cannot be counted exactly")
    if numbers.sum() > MOST_ROWS:
        raise DataError(
            f"column {name!r} of {table.source} sums to over {MOST_ROWS:,}; so many rows cannot be counted exactly"
        )
    if not numbers.any():
        raise DataError(f"column {name!r} of {table.source} is 0 in every row, so that there are no rows to audit")
    return numbers.astype(np.int64)


def numbers_of(table: Table, name: str, *, otherwise: str = "no number") -> NDArray[np.float64]:
    """Return a column of finite numbers; else raises `DataError` with a message that ends in `otherwise`."""
    numbers = table.numbers(name)
    if not np.isfinite(numbers).all():
        refuse(table, name, table.words(name).codes < 0, f"empty; every row needs one, or {DROP}")
        refuse(table, name, ~np.isfinite(numbers), otherwise)
    return numbers


def refuse(table: Table, name: str, wrong: NDArray[np.bool_], why: str) -> None:
    """Name the first wrong cell by its place only: its content may be about a person."""
    if wrong.any():
        first = int(np.argmax(wrong)) + 1
        count = int(wrong.sum())
        cells = "1 cell" if count == 1 else f"{count} cells"
        raise DataError(f"column {name!r} of {table.source}: {cells}, the first in row {first}, {why}")
