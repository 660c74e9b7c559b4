"""Tables on disk: what is read, and what is refused."""

import sys

import numpy as np
import pandas as pd
import pytest

from fedcore.errors import DataError
from fedcore.tasks.tabular.table import MISSING_WORDS, read_table
from tests.tasks.builders import write_csv


def written(tmp_path, text, name="table.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_whole_numbers_are_one_word_however_they_are_written(tmp_path):
    table = read_table(written(tmp_path, "code\n1\n1.0\n1.00\n-2.0\n1.5\n007\n"))
    assert table.words("code").values == ("1", "-2", "1.5", "007")
    assert table.words("code").codes.tolist() == [0, 0, 0, 1, 2, 3]


def test_every_spelling_of_nothing_is_missing_as_word_and_as_number(tmp_path):
    table = read_table(write_csv(tmp_path / "t.csv", {"a": [*MISSING_WORDS, " ? ", "5"], "b": ["x"] * 12}))
    assert table.words("a").codes.tolist() == [-1] * 11 + [0]
    assert np.isnan(table.numbers("a")).tolist() == [True] * 11 + [False]


def test_none_and_unknown_are_words_and_not_missing(tmp_path):
    assert read_table(written(tmp_path, "a\nNone\nunknown\n")).words("a").values == ("None", "unknown")


def test_names_may_be_quoted_and_span_lines_below_blank_ones(tmp_path):
    table = read_table(written(tmp_path, '\n"a, b","c\nd"\n1,2\n'))
    assert table.columns == ("a, b", "c\nd")
    assert table.words("c\nd").values == ("2",)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_seen_from_the_first_line(tmp_path, separator):
    table = read_table(written(tmp_path, f"a{separator}b\n1{separator} x y \n"))
    assert table.columns == ("a", "b")
    assert table.words("b").values == ("x y",)


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path):
    assert read_table(written(tmp_path, "\ufeffa,b\n1,2\n")).columns == ("a", "b")


def test_a_column_without_a_name_is_named_by_its_place(tmp_path):
    assert read_table(written(tmp_path, ",b\n1,2\n")).columns == ("column 1", "b")


def test_parquet_and_csv_read_alike(tmp_path):
    frame = pd.DataFrame(
        {
            "number": [1.5, None, 3.0],
            "whole": pd.array([1, None, 3], dtype="Int64"),
            "word": ["x", None, "?"],
            "flag": [True, False, True],
            "group": pd.Categorical(["a", "b", None]),
        }
    )
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_csv(tmp_path / "t.csv", index=False)
    parquet, text = read_table(tmp_path / "t.parquet"), read_table(tmp_path / "t.csv")
    for name in frame.columns:
        assert parquet.words(name).values == text.words(name).values
        assert parquet.words(name).codes.tolist() == text.words(name).codes.tolist()
    for name in ("number", "whole"):
        assert np.array_equal(parquet.numbers(name), text.numbers(name), equal_nan=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the table table.csv is empty; expected a line of column names"),
        ("a,b\n", "the table table.csv has no rows"),
        ("a,b,a\n1,2,3\n", "several columns named 'a'; give every column a name of its own"),
        ("a,b\n1,2\n1,2,3\n", "cannot be read as CSV"),
        ("a,b\n1,2,3\n1,2,3\n", "cannot be read as CSV"),
        (bytes(range(256)), "not text in UTF-8"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read_table(written(tmp_path, content))


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"no table at .*none.csv; expected a .csv or .parquet file"):
        read_table(tmp_path / "none.csv")


def test_what_is_no_parquet_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_table(written(tmp_path, "a,b\n1,2\n", name="t.parquet"))


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    def without(*arguments, **options):
        raise ImportError("no engine")

    monkeypatch.setattr(pd, "read_parquet", without)
    with pytest.raises(DataError, match=r"pip install 'fedcore\[parquet\]'"):
        read_table(written(tmp_path, "x", name="t.parquet"))


def test_nested_cells_are_refused(tmp_path):
    pd.DataFrame({"a": [[1], [2]]}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"column 'a' of t.parquet holds lists"):
        read_table(tmp_path / "t.parquet").words("a")


def test_pandas_is_imported_only_when_a_table_is_read():
    import subprocess

    code = "import sys, fedcore.tasks.tabular.table; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
