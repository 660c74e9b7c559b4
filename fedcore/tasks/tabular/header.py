"""The names of a table's columns, read before pandas is imported."""

from __future__ import annotations

import codecs
import csv
import difflib
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from fedcore.errors import DataError

IN_UTF_8 = "save it as CSV in UTF-8, or as .parquet"
_SEPARATORS = ",;\t|"


def check_table(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"no table at {path}; expected a .csv or .parquet file")


def is_parquet(path: Path) -> bool:
    return path.suffix.lower() in {".parquet", ".pq"}


def read_header(path: Path, *, encoding: str, remedy: str) -> tuple[str, list[str]]:
    """The separator of a CSV file, as its first line has it, and the names of its columns.

    Args:
        encoding: As `marked_encoding` returns it.
        remedy: What to do where the text has another encoding, as a sentence's end.

    Raises:
        DataError: The file is empty or no text, or two columns have one name.
        UnicodeError: It has another encoding.
        OSError: It cannot be read.
    """
    with path.open(encoding=encoding, newline="") as file:
        first = file.readline()
        if "\0" in first:
            raise DataError(f"the table {path.name} holds NUL characters, as text in UTF-16 does; {remedy}")
        separator = max(_SEPARATORS, key=first.count)
        file.seek(0)
        lines = csv.reader(file, delimiter=separator, skipinitialspace=True)
        names = next((names for names in lines if names), None)
    if names is None:
        raise DataError(f"the table {path.name} is empty; expected a line of column names and rows below")
    return separator, checked_names(path, [name.strip() for name in names])


def marked_encoding(path: Path, encoding: str) -> str:
    """Return the encoding with or without a byte order mark."""
    name = codecs.lookup(encoding).name
    if name == "utf-8":
        return "utf-8-sig"
    with path.open("rb") as file:
        marked = file.read(2) in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}
    return "utf-16-le" if name == "utf-16" and not marked else encoding


def checked_names(path: Path, names: Sequence[str]) -> list[str]:
    names = [name or f"column {position}" for position, name in enumerate(names, start=1)]
    double = [name for name, count in Counter(names).items() if count > 1]
    if double:
        raise DataError(
            f"the table {path.name} has several columns named {', '.join(map(repr, double))}; "
            "give every column a name of its own"
        )
    return names


def nearest(name: str, names: Collection[str]) -> str:
    """A hint at the intended name."""
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"
