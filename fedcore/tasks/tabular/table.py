"""Tables in CSV or Parquet files, and their cells as words and as numbers."""

from __future__ import annotations

import csv
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedcore.errors import DataError
from fedcore.tasks.tabular.header import IN_UTF_8, check_table, checked_names, is_parquet, marked_encoding, read_header

if TYPE_CHECKING:
    import pandas as pd

MISSING_WORDS = ("", "?", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "<NA>")
"""Cells that hold no value."""

_WHOLE = re.compile(r"(-?\d+)\.0*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """A column read as text.

    Attributes:
        codes: For each row a position in `values`, -1 if empty; int64, shape ``(rows,)``.
    """

    codes: NDArray[np.int64]
    values: tuple[str, ...]

    def positions(self, vocabulary: tuple[str, ...], *, outside: int, missing: int) -> NDArray[np.int64]:
        """Each row's position in `vocabulary`, or the code for unlisted or missing words."""
        place = {word: position for position, word in enumerate(vocabulary)}
        lookup = np.array([*(place.get(value, outside) for value in self.values), missing], dtype=np.int64)
        return lookup[self.codes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Named columns of equal length, each cell read by itself.

    The meaning of a cell depends on the cell only, never on the column's other rows, so that two data owners
    read one value alike.
    """

    source: str
    frame: pd.DataFrame

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.frame.columns)

    def select(self, rows: NDArray[np.bool_]) -> Table:
        return Table(source=self.source, frame=self.frame[rows])

    def words(self, name: str) -> Words:
        """A column as text, whole numbers without a decimal point; raises `DataError` for nested cells."""
        import pandas as pd

        try:
            codes, found = pd.factorize(self.frame[name])
        except TypeError:
            raise DataError(
                f"column {name!r} of {self.source} holds lists or other nested values; flatten it"
            ) from None
        texts = [_text(value) for value in found]
        values = tuple(dict.fromkeys(text for text in texts if text is not None))
        place: dict[str | None, int] = {value: position for position, value in enumerate(values)}
        lookup = np.array([*(place.get(text, -1) for text in texts), -1], dtype=np.int64)
        return Words(codes=lookup[codes], values=values)

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A column as float64, shape ``(rows,)``; NaN for cells without a number."""
        import pandas as pd

        column = self.frame[name]
        if not pd.api.types.is_numeric_dtype(column):
            column = pd.to_numeric(column.astype("string"), errors="coerce")
        return column.to_numpy(dtype=np.float64, na_value=np.nan)


def read_table(path: Path, *, encoding: str = "utf-8", remedy: str = IN_UTF_8) -> Table:
    """Read a ``.csv`` (comma, semicolon, tab or bar; first line names the columns) or ``.parquet`` file.

    Args:
        remedy: What to do where the text has another encoding, as a sentence's end.

    Raises:
        DataError: The file is absent, empty or no table, or two columns have one name.
    """
    check_table(path)
    frame = _read_parquet(path) if is_parquet(path) else _read_csv(path, marked_encoding(path, encoding), remedy)
    if frame.empty:
        raise DataError(f"the table {path.name} has no rows; expected a line of column names and at least one row")
    return Table(source=path.name, frame=frame)


def _read_csv(path: Path, encoding: str, remedy: str) -> pd.DataFrame:
    import pandas as pd

    try:
        separator, names = read_header(path, encoding=encoding, remedy=remedy)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return pd.read_csv(
                path,
                sep=separator,
                header=0,
                names=names,
                index_col=False,
                dtype=str,
                keep_default_na=False,
                na_values=list(MISSING_WORDS),
                skipinitialspace=True,
                encoding=encoding,
            )
    except UnicodeError:
        name = encoding.upper().removesuffix("-SIG")
        raise DataError(f"the table {path.name} is not text in {name}; {remedy}") from None
    except (OSError, ValueError, Warning, csv.Error) as error:  # pandas' parser errors are ValueErrors
        reason = str(error).strip().splitlines()[0]
        raise DataError(
            f"the table {path.name} cannot be read as CSV ({reason}); expected as many cells in every line as there "
            "are column names"
        ) from error


def _read_parquet(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        frame = pd.read_parquet(path)
    except ImportError:
        raise DataError(
            f"reading {path.name} needs pyarrow, which is not installed; pip install 'fedcore[parquet]', "
            "or give the table as .csv"
        ) from None
    except Exception as error:
        raise DataError(f"the table {path.name} cannot be read as Parquet ({type(error).__name__})") from error
    frame.columns = pd.Index(checked_names(path, [str(name) for name in frame.columns]))
    return frame


def _text(value: object) -> str | None:
    """A cell's text, the same for ``1``, ``1.0`` and ``"1.0"``; None if empty."""
    text = str(value).strip()
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else (text if text not in MISSING_WORDS else None)
