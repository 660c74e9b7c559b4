"""The schema of a table: drafting it as a file, and checking it against a table."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from fedcore.errors import DataError
from fedcore.tasks.tabular.columns import Column, Ignored, Numeric, Schema
from fedcore.tasks.tabular.draft import draft_label, draft_schema
from fedcore.tasks.tabular.encoding import finite_numbers
from fedcore.tasks.tabular.header import nearest
from fedcore.tasks.tabular.table import Table, read_table
from fedcore.tasks.tabular.toml import refuse, schema_to_toml

_HEADER = """\
# Schema of {source}, drafted from its {rows} rows: read and correct it.
# Every client needs this same file. A drafted range or category reveals something about the rows that it was
# drafted from; put in what is known beforehand (an age is from 0 to 120), then set public = true.
#
# kind = "numeric"      range = [low, high]; values outside count as the nearer end. scale = "linear" or "log".
#                       bands = [...] are the edges between the groups that an audit compares.
# kind = "categorical"  categories = [...]; any other word counts as "other".
# kind = "binary"       categories = [...]; exactly two.
# kind = "ignored"      neither an input nor a group.
# use = false           keeps a column for groups and partition only, out of the model's inputs.
# Missing cells need no entry: every column has an input for them.
"""


def draft_schema_file(path: Path, *, label: str | None) -> str:
    """Draft the schema of a table, as TOML with comments.

    Args:
        label: Column to predict; ``None`` leaves the label open.

    Raises:
        DataError: The table cannot be read, or has no such column.
    """
    table = read_table(path)
    check_columns(table, [label] if label is not None else [])
    draft = draft_schema(table, label=draft_label(table, label) if label is not None else None)
    return schema_to_toml(draft, header=_HEADER.format(source=table.source, rows=len(table)))


def check_schema(schema: Schema, table: Table, *, source: str, grouped: Collection[str] = ()) -> None:
    """Refuse a schema that contradicts a table.

    Args:
        grouped: Columns that the table must have although they are not inputs.

    Raises:
        DataError: Lists every contradiction.
    """
    needed = [column for column in schema.columns if column.use or column.name in grouped]
    refuse(source, [problem for column in needed for problem in _contradictions(column, table)])


def check_columns(table: Table, names: Collection[str]) -> None:
    """Refuse a table without these columns; the `DataError` names each, with the nearest column."""
    problems = [
        f"there is no column {name!r} in {table.source}; {nearest(name, table.columns)}"
        for name in names
        if name not in table.columns
    ]
    if problems:
        raise DataError("\n".join(problems))


def _contradictions(column: Column, table: Table) -> Iterator[str]:
    if isinstance(column, Ignored):
        return
    if column.name not in table.columns:
        yield f"column {column.name!r} is not in {table.source}; {nearest(column.name, table.columns)}"
        return
    words = table.words(column.name)
    if isinstance(column, Numeric):
        present = words.codes >= 0
        if present.any() and np.isnan(finite_numbers(table, column.name)[present]).mean() > 0.5:
            yield f"column {column.name!r} is declared numeric, and {table.source} holds mostly words in it"
    elif words.values and not set(words.values) & set(column.categories):
        yield (
            f"column {column.name!r}: none of its {len(words.values)} different values in {table.source} is among "
            f"the declared categories {', '.join(column.categories)}"
        )
