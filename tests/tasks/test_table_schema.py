"""Schemas as files: what is written is read back, and what contradicts itself or the table is told at once."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcore.errors import DataError
from fedcore.tasks.tabular.columns import Binary, Categorical, Ignored, Label, Numeric, Schema
from fedcore.tasks.tabular.draft import Draft, draft_label, draft_schema
from fedcore.tasks.tabular.encoding import encode_inputs
from fedcore.tasks.tabular.schema_file import check_schema, draft_schema_file
from fedcore.tasks.tabular.table import read_table
from fedcore.tasks.tabular.toml import read_schema, schema_to_toml
from tests.tasks.builders import patients, write_csv

NUMBERS = st.floats(-1e9, 1e9)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
WORDS = st.lists(TEXTS, min_size=2, max_size=5, unique=True).map(tuple)
COLUMNS = st.one_of(
    st.builds(
        lambda name, ends, bands, scale, use: Numeric(
            name=name, range=(ends[0], ends[1]), bands=tuple(sorted(bands)), scale=scale, use=use
        ),
        TEXTS,
        st.tuples(NUMBERS, NUMBERS).map(sorted).filter(lambda ends: ends[0] < ends[1]),
        st.sets(NUMBERS, max_size=4),
        st.sampled_from(["linear", "log"]),
        st.booleans(),
    ),
    st.builds(lambda name, words, use: Categorical(name=name, categories=words, use=use), TEXTS, WORDS, st.booleans()),
    st.builds(lambda name, words: Binary(name=name, categories=words[:2]), TEXTS, WORDS),
    st.builds(lambda name: Ignored(name=name), TEXTS),
)


def schema_file(tmp_path, text):
    path = tmp_path / "schema.toml"
    path.write_text(text, encoding="utf-8")
    return path


@settings(deadline=None)
@given(
    columns=st.lists(COLUMNS, min_size=1, max_size=4, unique_by=lambda column: column.name),
    label=st.none() | st.builds(lambda name, classes: Label(name=name, classes=classes), TEXTS, WORDS),
)
def test_every_schema_is_read_back_as_it_was_written(tmp_path_factory, columns, label):
    schema = Schema(columns=tuple(columns), label=label)
    path = schema_file(tmp_path_factory.mktemp("schema"), schema_to_toml(Draft(schema=schema, reasons={})))
    assert read_schema(path) == schema


def test_a_drafted_file_encodes_as_the_draft_does(tmp_path):
    path = write_csv(tmp_path / "t.csv", patients())
    table = read_table(path)
    read = read_schema(schema_file(tmp_path, draft_schema_file(path, label="ill")))
    drafted = draft_schema(table, label=draft_label(table, "ill")).schema
    assert read == drafted
    assert torch.equal(encode_inputs(table, read), encode_inputs(table, drafted))


def test_a_drafted_file_says_how_to_correct_it_and_why_columns_are_left_out(tmp_path):
    columns = patients(note=[f"free text {row}" for row in range(120)], empty=["?"] * 120)
    text = draft_schema_file(write_csv(tmp_path / "t.csv", columns), label="ill")
    assert "drafted from its 120 rows: read and correct it" in text
    assert '[columns.note]\nkind = "ignored"  # it holds mostly different words' in text
    assert '[columns.empty]\nkind = "ignored"  # it holds no value' in text
    assert 'classes = ["no", "yes"]  # of two classes the second is the positive one' in text


def test_without_a_label_every_column_is_described(tmp_path):
    text = draft_schema_file(write_csv(tmp_path / "t.csv", patients()), label=None)
    assert "[label]" not in text
    assert "[columns.ill]" in text


def test_drafting_for_an_absent_label_names_the_nearest_column(tmp_path):
    with pytest.raises(DataError, match=r"there is no column 'il' in t.csv; did you mean 'ill'\?"):
        draft_schema_file(write_csv(tmp_path / "t.csv", patients()), label="il")


def test_all_problems_of_a_file_are_told_at_once(tmp_path):
    text = """
        [lable]
        [label]
        column = "ill"
        classes = ["yes"]
        [columns.a]
        kind = "numerik"
        [columns.b]
        kind = "numeric"
        range = [3, 1]
        [columns.c]
        kind = "numeric"
        range = [0, inf]
        bands = [2, 1]
        [columns.d]
        kind = "categorical"
        categories = ["x", "x"]
        [columns.e]
        kind = "binary"
        categories = ["x", "y", "z"]
        [columns.f]
        kind = "categorical"
        range = [0, 1]
        [columns.g]
        kind = "numeric"
        range = "0 to 1"
        scale = "root"
        bands = ["1"]
        use = 1
        [columns.h]
        categories = ["x"]
    """
    with pytest.raises(DataError) as caught:
        read_schema(schema_file(tmp_path, text))
    for problem in (
        "unknown section: 'lable'; did you mean 'label'?",
        "[label] classes: expected a list of two or more different texts",
        "[columns.a] unknown kind: 'numerik'; did you mean 'numeric'?",
        "[columns.b] range: expected [low, high] with low < high",
        "[columns.c] range: expected",
        "[columns.c] bands: expected rising edges",
        "[columns.d] categories: 'x' more than once",
        "[columns.e] categories: expected two for kind binary, found 3",
        "[columns.f] unknown key for kind categorical: 'range'",
        "[columns.f] categories: expected a list of texts",
        "[columns.g] range: expected [low, high]",
        "[columns.g] scale: expected linear or log",
        "[columns.g] bands: expected a list of numbers",
        "[columns.g] use: expected true or false",
        "[columns.h] kind is missing",
    ):
        assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"), [("columns = 3", "columns: expected a section"), ("a = ", "cannot be read")]
)
def test_what_is_no_schema_is_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_schema(schema_file(tmp_path, text))


def test_an_absent_schema_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"no schema at .*none.toml; expected a TOML file"):
        read_schema(tmp_path / "none.toml")


def test_all_contradictions_to_the_table_are_told_at_once(tmp_path):
    table = read_table(write_csv(tmp_path / "t.csv", patients()))
    schema = Schema(
        columns=(
            Numeric(name="ward", range=(0, 1)),
            Binary(name="sex", categories=("woman", "man")),
            Numeric(name="presure", range=(0, 1)),
            Categorical(name="absent", categories=("x",), use=False),
        ),
        label=None,
    )
    with pytest.raises(DataError) as caught:
        check_schema(schema, table, source="s.toml")
    assert str(caught.value).splitlines() == [
        "schema s.toml: column 'ward' is declared numeric, and t.csv holds mostly words in it",
        "schema s.toml: column 'sex': none of its 2 different values in t.csv is among the declared categories "
        "woman, man",
        "schema s.toml: column 'presure' is not in t.csv; did you mean 'pressure'?",
    ]
