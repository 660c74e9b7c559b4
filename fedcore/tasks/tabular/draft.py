"""A first schema from a table's rows: for a person to correct, or for a simulation to use."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from fedcore.errors import DataError
from fedcore.tasks.tabular.columns import Binary, Categorical, Column, Ignored, Label, Numeric, Scale, Schema
from fedcore.tasks.tabular.encoding import finite_numbers
from fedcore.tasks.tabular.table import Table, Words

_NUMBERS_SHARE = 0.95
_MOST_CODES = 5
_MOST_CATEGORIES = 100
_LEAST_ROWS = 5
_IDENTIFIER_WORDS = 20
_TAIL = 0.005
_LONG_TAIL = 10.0
_MOST_NUMERIC_CLASSES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A drafted schema, with the reasons why columns were left out."""

    schema: Schema
    reasons: dict[str, str]


def draft_schema(table: Table, *, label: Label | None, grouped: Collection[str] = ()) -> Draft:
    """Guess the kind of every column.

    Words with fewer than 5 rows are not declared, and ranges end at the 0.5 % and 99.5 % quantiles, rounded
    outward to two digits: a schema should reveal as little as possible about single rows. Whole numbers with up
    to 5 different values are taken for codes, and so for categories.

    Args:
        grouped: Columns whose values are groups: every value is declared.

    Raises:
        DataError: A column has infinite numbers, or one of `grouped` no value or too many.
    """
    columns: list[Column] = []
    reasons: dict[str, str] = {}
    for name in table.columns:
        if label is not None and name == label.name:
            continue
        column, reason = _draft_column(table, name, grouped=name in grouped)
        columns.append(column)
        if reason:
            reasons[name] = reason
    return Draft(schema=Schema(columns=tuple(columns), label=label), reasons=reasons)


def draft_label(table: Table, name: str) -> Label:
    """The classes of a label column, from all rows: a plan's labels are public.

    Of two classes the second, positive one is the larger number, or else the word with fewer rows.

    Raises:
        DataError: There are fewer than two classes, or too many.
    """
    words = table.words(name)
    if len(words.values) < 2:
        raise DataError(
            f"label column {name!r} of {table.source} has {len(words.values)} different value(s), so there is "
            "nothing to learn; expected two classes or more"
        )
    numeric = not np.isnan(table.numbers(name)[words.codes >= 0]).any()
    most = _MOST_NUMERIC_CLASSES if numeric else _MOST_CATEGORIES
    if len(words.values) > most:
        advice = "bin it into classes first, such as low and high" if numeric else "is it an identifier?"
        raise DataError(
            f"label column {name!r} of {table.source} has {len(words.values)} different values; expected at most "
            f"{most} classes: {advice}"
        )
    classes = _sorted(words.values)
    if len(classes) == 2 and not numeric:
        classes = tuple(sorted(classes, key=lambda value: -_rows_of(words)[words.values.index(value)]))
    return Label(name=name, classes=classes)


def _draft_column(table: Table, name: str, *, grouped: bool) -> tuple[Column, str]:
    words, numbers = table.words(name), table.numbers(name)
    present = words.codes >= 0
    numeric = bool(present.any()) and (~np.isnan(numbers[present])).mean() >= _NUMBERS_SHARE
    if numeric:
        numbers = finite_numbers(table, name)
    if grouped:
        return _draft_groups(table, name, words, numbers, numeric=numeric), ""
    if reason := _reason_to_ignore(words, numbers, numeric=numeric):
        return Ignored(name=name), reason
    if len(words.values) == 2:
        return Binary(name=name, categories=_sorted(words.values)), ""
    if numeric and not _are_codes(words, numbers):
        return _draft_numbers(name, numbers[np.isfinite(numbers)]), ""
    return Categorical(name=name, categories=_frequent(words)), ""


def _draft_groups(table: Table, name: str, words: Words, numbers: NDArray[np.float64], *, numeric: bool) -> Column:
    if not words.values:
        raise DataError(f"column {name!r} of {table.source} holds no value in the training rows, so it has no groups")
    if len(words.values) == 2:
        return Binary(name=name, categories=_sorted(words.values))
    if numeric and not _are_codes(words, numbers) and _differ(numbers):
        return _draft_numbers(name, numbers[np.isfinite(numbers)])
    if len(words.values) > _MOST_CATEGORIES:
        raise DataError(
            f"column {name!r} of {table.source} has {len(words.values)} different values; expected at most "
            f"{_MOST_CATEGORIES} groups to audit: merge them, or declare categories in a schema"
        )
    return Categorical(name=name, categories=_sorted(words.values))


def _reason_to_ignore(words: Words, numbers: NDArray[np.float64], *, numeric: bool) -> str:
    """Why a column is not an input; empty if it is."""
    rows = int((words.codes >= 0).sum())
    if not words.values:
        return "holds no value"
    if len(words.values) == 1 or (numeric and not _differ(numbers)):
        return "holds one value only"
    if not numeric and len(words.values) > max(_IDENTIFIER_WORDS, rows / 2):
        return "holds mostly different words, as an identifier does"
    rising = numbers[np.isfinite(numbers)]
    if numeric and rows >= _IDENTIFIER_WORDS and (np.diff(rising) > 0).all() and (rising % 1 == 0).all():
        return "counts the rows"
    return ""


def _are_codes(words: Words, numbers: NDArray[np.float64]) -> bool:
    known = numbers[np.isfinite(numbers)]
    return len(words.values) <= _MOST_CODES and bool((known % 1 == 0).all())


def _differ(numbers: NDArray[np.float64]) -> bool:
    known = numbers[np.isfinite(numbers)]
    return bool(len(known)) and bool(known.min() < known.max())


def _draft_numbers(name: str, values: NDArray[np.float64]) -> Numeric:
    """Range, scale and quartile bands of numbers with at least two different values."""
    low, middle, high = (float(value) for value in np.quantile(values, (_TAIL, 0.5, 1 - _TAIL)))
    if low == high:
        low, high = float(values.min()), float(values.max())
    scale: Scale = "log" if high - middle > _LONG_TAIL * (middle - low) else "linear"
    digits = 1 - math.floor(math.log10(high - low))
    low_rounded, high_rounded = _rounded(low, digits, math.floor), _rounded(high, digits, math.ceil)
    if low_rounded < high_rounded and math.isfinite(high_rounded - low_rounded):
        low, high = low_rounded, high_rounded
    return Numeric(name=name, range=(low, high), scale=scale, bands=_draft_bands(values, digits))


def _draft_bands(values: NDArray[np.float64], digits: int) -> tuple[float, ...]:
    quartiles = [float(value) for value in np.quantile(values, (0.25, 0.5, 0.75))]
    if quartiles[-1] <= values.min():
        quartiles = [float(np.median(values[values > values.min()]))]
    edges = {_rounded(edge, digits, round) for edge in quartiles}
    return tuple(sorted(edge for edge in edges if values.min() < edge <= values.max()))


def _rounded(value: float, digits: int, how: Callable[[Decimal], int]) -> float:
    """Round to so many decimal places; negative ones round to tens, hundreds and so on."""
    return float(Decimal(how(Decimal(value).scaleb(digits))).scaleb(-digits))


def _frequent(words: Words) -> tuple[str, ...]:
    rows = _rows_of(words)
    order = np.argsort(-rows, kind="stable")[:_MOST_CATEGORIES]
    kept = [words.values[place] for place in order if rows[place] >= _LEAST_ROWS]
    return _sorted(kept if len(kept) >= 2 else words.values[:_MOST_CATEGORIES])


def _rows_of(words: Words) -> NDArray[np.int64]:
    return np.bincount(words.codes[words.codes >= 0], minlength=len(words.values)).astype(np.int64)


def _sorted(words: Collection[str]) -> tuple[str, ...]:
    """Numerically if all are numbers, else alphabetically."""
    try:
        return tuple(sorted(words, key=float))
    except ValueError:
        return tuple(sorted(words))
