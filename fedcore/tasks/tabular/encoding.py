"""From the cells of a table to the inputs of a model and the groups of an audit, by a declared schema."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from fedcore.audit.tables.groups import UNKNOWN
from fedcore.data.examples import Attribute
from fedcore.errors import DataError
from fedcore.tasks.tabular.columns import NUM_KNOTS, Binary, Categorical, Column, Label, Numeric, Schema
from fedcore.tasks.tabular.table import Table

_LOG_STEPS = 1000.0
"""A log scale is linear below a range's thousandth part, and logarithmic above it."""


def encode_inputs(table: Table, schema: Schema) -> torch.Tensor:
    """The inputs of every row: float32, shape ``(rows, schema.width)``.

    A row's inputs depend on the schema and the row only. They are divided by the root of the number of
    columns, so that a row's norm is at most about one in narrow and wide tables alike, and one clip norm
    and one learning rate fit both.
    """
    used = [column for column in schema.columns if column.use]
    parts = [torch.zeros((len(table), 0)), *(torch.from_numpy(_encode(table, column)) for column in used)]
    return torch.cat(parts, dim=1).div_(math.sqrt(max(len(used), 1)))


def encode_groups(table: Table, columns: Iterable[Column]) -> dict[str, Attribute]:
    """The groups of every row by each of the columns, in declared vocabularies."""
    return {
        column.name: Attribute(codes=torch.from_numpy(_group_codes(table, column)), vocabulary=column.groups)
        for column in columns
    }


def encode_label(table: Table, label: Label) -> torch.Tensor:
    """The class of every row: int64, shape ``(rows,)``; raises `DataError` for missing and undeclared labels."""
    codes = table.words(label.name).positions(label.classes, outside=-2, missing=-1)
    undeclared = int((codes == -2).sum())
    if undeclared:
        raise DataError(
            f"label column {label.name!r} of {table.source} has values in {undeclared} of {len(table)} rows that are "
            f"not declared; expected one of {', '.join(label.classes)}"
        )
    if (codes < 0).any():
        raise DataError(f"label column {label.name!r} of {table.source} is empty in {int((codes < 0).sum())} rows")
    return torch.from_numpy(codes)


def _encode(table: Table, column: Column) -> NDArray[np.float32]:
    """The inputs of one column, shape ``(rows, column.width)``."""
    match column:
        case Numeric():
            return _encode_number(finite_numbers(table, column.name), column)
        case Categorical():
            num_words = len(column.categories)
            codes = table.words(column.name).positions(column.categories, outside=num_words, missing=num_words + 1)
            return np.eye(num_words + 2, dtype=np.float32)[codes]
        case Binary():
            codes = table.words(column.name).positions(column.categories, outside=2, missing=2)
            return np.array([[-1, 0], [1, 0], [0, 1]], dtype=np.float32)[codes]
        case _:
            return np.zeros((len(table), 0), dtype=np.float32)


def _encode_number(values: NDArray[np.float64], column: Numeric) -> NDArray[np.float32]:
    missing = np.isnan(values)
    low, high = column.range
    known = np.clip(np.where(missing, low, values), low, high)
    share = (known / 2 - low / 2) / (high / 2 - low / 2)  # halves: a span may overflow
    if column.scale == "log":
        share = np.log1p(_LOG_STEPS * share) / math.log1p(_LOG_STEPS)
    last = NUM_KNOTS - 1
    nearness = np.maximum(0.0, 1.0 - np.abs(share[:, None] * last - np.arange(NUM_KNOTS)))
    return np.column_stack([np.where(missing[:, None], 0.0, nearness), missing]).astype(np.float32)


def finite_numbers(table: Table, name: str) -> NDArray[np.float64]:
    """A column's numbers, NaN if missing; raises `DataError` if some are infinite."""
    values = table.numbers(name)
    infinite = int(np.isinf(values).sum())
    if infinite:
        raise DataError(
            f"column {name!r} of {table.source} holds infinite numbers in {infinite} of {len(table)} rows; "
            "correct them, or leave these cells empty"
        )
    return values


def _group_codes(table: Table, column: Column) -> NDArray[np.int64]:
    unknown = column.groups.index(UNKNOWN)
    if isinstance(column, Numeric):
        values = finite_numbers(table, column.name)
        return np.where(np.isnan(values), unknown, np.digitize(values, column.bands)).astype(np.int64)
    return table.words(column.name).positions(column.groups, outside=unknown, missing=unknown)
