"""Arrays, series and frames as one table with named columns, and their kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from fedcore.audit.tables.crossing import ATTRIBUTE_MARK
from fedcore.audit.tables.groups import UNKNOWN
from fedcore.errors import DataError, PlanError
from fedcore.tasks.tabular.table import Table
from fedcore.text.wording import named

if TYPE_CHECKING:
    import pandas as pd

TRUE, PREDICTED, WEIGHT, SITE = "y_true", "predicted", "weights", "sites"
Predicted = Literal["decisions", "scores", "numbers"]
_FEW = 20
"""So many different whole numbers may be classes; of more it is taken for granted that they are numbers."""


def table_of_arrays(groups: Any, columns: Mapping[str, Any]) -> tuple[Table, tuple[str, ...]]:
    """Return a table of these columns and the groups, and the groups' names. Rows are taken by position.

    Args:
        groups: A frame, a series, a mapping from names to columns, or a list or array of shape (rows,).
        columns: Other columns by name, of shape (rows,); None for those not given.

    Raises:
        DataError: Lengths differ, a column has several numbers per row, a group's name is taken, or there is only one
            group.
    """
    import pandas as pd

    by_name = {str(name): _column(str(name), values) for name, values in _groups(groups).items()}
    if taken := [name for name in by_name if name in columns or ATTRIBUTE_MARK in name or not name.strip()]:
        raise DataError(
            f"groups: no column of groups may be called {taken[0]!r} ({ATTRIBUTE_MARK!r} crosses two, and "
            f"{', '.join(columns)} are taken); rename it"
        )
    found = {name: _column(name, values) for name, values in columns.items() if values is not None} | by_name
    lengths = {name: len(values) for name, values in found.items()}
    if len({*lengths.values()}) > 1:
        if len({length for name, length in lengths.items() if name not in by_name}) == 1 and _are_names(groups):
            raise _names_of_groups(groups)
        counts = ", ".join(f"{name} has {length:,}" for name, length in lengths.items())
        raise DataError(f"every column needs as many rows as the others: {counts}")
    if not all(lengths.values()):
        raise DataError("there are no rows to audit")
    table = Table(source="arrays", frame=pd.DataFrame(found))
    for name in by_name:
        known = [value for value in table.words(name).values if value.lower() != UNKNOWN]
        if len(known) < 2:
            raise DataError(f"groups: {name!r} has one group only ({', '.join(known)}); a comparison needs two or more")
    return table, tuple(by_name)


def predicted_kind(table: Table, wanted: str | None) -> Predicted:
    """Return the kind of prediction: a label, a score, or a number like the target.

    Without `wanted`, predictions that are all labels are decisions; other numbers are numbers if the targets are
    fractions or have over 20 different values, and else scores. Raises `PlanError` for an unknown kind.
    """
    if wanted is not None:
        if wanted not in get_args(Predicted):
            raise PlanError(f"kind must be {', '.join(get_args(Predicted))} or None, not {wanted!r}")
        return "decisions" if wanted == "decisions" else "scores" if wanted == "scores" else "numbers"
    predicted, true = _values(table, PREDICTED), _values(table, TRUE) if TRUE in table.columns else None
    if not predicted.numeric or _are_labels(predicted, true):
        return "decisions"
    if true is None or (true.few is not None and len(true.few) <= 2):
        return "scores"
    if not true.numeric:
        return "decisions"
    classes = true.few is not None and predicted.few is not None and len(true.few | predicted.few) <= _FEW
    return "decisions" if classes and true.whole and predicted.whole else "numbers"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Values:
    """Values of a column: its different texts if few, whether there are numbers, and only whole ones."""

    few: frozenset[str] | None
    numeric: bool
    whole: bool


def _values(table: Table, name: str) -> _Values:
    numbers = table.numbers(name)
    known = numbers[np.isfinite(numbers)]
    few = len(np.unique(known)) <= _FEW
    return _Values(
        few=frozenset(table.words(name).values) if few else None,
        numeric=len(known) > 0,
        whole=bool((known == np.floor(known)).all()),
    )


def _are_labels(predicted: _Values, true: _Values | None) -> bool:
    """Whether every prediction is a label, and there are few enough labels to be classes."""
    if predicted.few is None:
        return False
    if true is None:
        return len(predicted.few) <= 2
    truths = {"0", "1", "True", "False"}
    known = truths if true.few is not None and true.few <= truths else true.few or frozenset()
    return predicted.few <= known


def _groups(groups: Any) -> Mapping[Any, Any]:
    import pandas as pd

    if isinstance(groups, pd.DataFrame):
        return {name: groups[name] for name in groups.columns}
    if isinstance(groups, pd.Series):
        return {"group" if groups.name is None else groups.name: groups}
    if isinstance(groups, Mapping):
        return groups
    if isinstance(groups, str):
        raise _names_of_groups([groups])
    if np.ndim(groups) == 2:
        return {f"group {number}": column for number, column in enumerate(np.asarray(groups).T, start=1)}
    return {"group": groups}


def _are_names(groups: Any) -> bool:
    texts = isinstance(groups, Sequence) and all(isinstance(name, str) for name in groups)
    return texts and len({*groups}) == len(groups)


def _names_of_groups(names: Sequence[str]) -> DataError:
    found = named([*map(repr, names)])
    return DataError(
        f"groups: expected columns of values, one for each row, such as df[{[*names]!r}]; found the text {found}"
    )


def _column(name: str, values: Any) -> pd.Series[Any]:
    import pandas as pd

    if isinstance(values, str):
        raise DataError(f"{name}: expected values, one for each row, such as df[{values!r}]; found the text {values!r}")
    if isinstance(values, pd.Series):
        return values.reset_index(drop=True)
    if isinstance(values, pd.DataFrame):
        values = values.to_numpy()
    array = values if isinstance(values, Sequence) and not isinstance(values, str) else np.asarray(values)
    shape = np.shape(array)
    if len(shape) == 2 and shape[1] == 1:
        array, shape = np.asarray(array)[:, 0], shape[:1]
    if len(shape) != 1:
        raise DataError(
            f"{name} must have one value a row, and has the shape {shape}; of probabilities give one column"
        )
    return pd.Series(array)
