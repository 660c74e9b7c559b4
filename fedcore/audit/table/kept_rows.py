"""The table as it is read: in its encoding, and without the rows that are to be left out."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

import numpy as np

from fedcore.audit.table.options import BiasOptions
from fedcore.errors import DataError
from fedcore.tasks.tabular.table import Table, read_table

DROP = "give --missing drop to leave such rows out"


def table_of(options: BiasOptions) -> tuple[Table, dict[str, int]]:
    """Read the table without the rows that are to be left out, and how many these are, by the column that lacks them.

    Raises:
        DataError: The file is no table by its name or cannot be read, lacks a column, or no row is left.
    """
    path = options.table
    if path.is_file() and path.suffix.lower() not in {".csv", ".tsv", ".txt", ".data", ".parquet", ".pq"}:
        raise DataError(f"{path.name} is neither a .csv nor a .parquet file by its name; expected one of the two")
    remedy = "give its own with --encoding, as latin-1 or utf-16, or save it as CSV in UTF-8"
    table = read_table(path, encoding=options.encoding, remedy=remedy)
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
    """Return in a sentence how many rows were left out; none where there are none."""
    if not dropped:
        return []
    columns = ", ".join(f"{count:,} without {name}" for name, count in dropped.items())
    total = sum(dropped.values())
    return [f"left out (--missing drop): {total:,} row{'' if total == 1 else 's'}, {columns}"]


def check_columns(table: Table, columns: tuple[str, ...]) -> None:
    """Refuse a table that lacks a column, with the name that may be meant."""
    for name in columns:
        if name not in table.columns:
            lower = {column.lower(): column for column in table.columns}
            near = difflib.get_close_matches(name.lower(), lower, n=1)
            meant = f"did you mean {lower[near[0]]!r}? " if near else ""
            raise DataError(
                f"the table {table.source} has no column {name!r}; {meant}it has {', '.join(table.columns)}"
            )
