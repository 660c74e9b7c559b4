"""Cells as inputs: finite, of the declared width, and each row by itself."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fedcore.errors import DataError
from fedcore.tasks.tabular.columns import NUM_KNOTS, Binary, Categorical, Ignored, Label, Numeric, Schema
from fedcore.tasks.tabular.draft import draft_schema
from fedcore.tasks.tabular.encoding import encode_groups, encode_inputs, encode_label
from fedcore.tasks.tabular.table import Table


def _is_infinite(text):
    try:
        return abs(float(text)) == float("inf")
    except ValueError:
        return False


CELLS = st.one_of(
    st.none(),
    st.floats(allow_infinity=False).map(str),
    st.integers(-5, 5).map(str),
    st.sampled_from(["a", "b", "c", "?", "unknown", "other", "Ä b", "1.0"]),
    st.text(max_size=5).filter(lambda text: not _is_infinite(text)),
)
TABLES = st.integers(1, 25).flatmap(
    lambda rows: st.dictionaries(
        st.sampled_from(["c1", "c2", "c3"]), st.lists(CELLS, min_size=rows, max_size=rows), min_size=1
    )
)
SCHEMA = Schema(
    columns=(
        Numeric(name="age", range=(0.0, 80.0), bands=(40.0, 65.0)),
        Numeric(name="gain", range=(0.0, 1000.0), scale="log"),
        Categorical(name="ward", categories=("north", "south")),
        Binary(name="sex", categories=("f", "m")),
        Ignored(name="id"),
        Categorical(name="hospital", categories=("A", "B"), use=False),
    ),
    label=None,
)


def table_of(**columns):
    return Table(source="t.csv", frame=pd.DataFrame(columns, dtype=object))


def row(*, age="40", gain="0", ward="north", sex="f", hospital="A"):
    return table_of(age=[age], gain=[gain], ward=[ward], sex=[sex], id=["x"], hospital=[hospital])


def inputs_of(name, cell):
    """The inputs of one column for one cell, before they are scaled by the number of columns."""
    start = 0
    for column in SCHEMA.columns:
        if column.name == name:
            scaled = encode_inputs(row(**{name: cell}), SCHEMA)[0, start : start + column.width]
            return (scaled * 2.0).tolist()  # four columns are inputs
        start += column.width
    raise KeyError(name)


@settings(deadline=None)
@example({"c1": ["a"] * 10, "c2": [None] * 7 + ["0.0", "0.5", "-1.71717172e+308"]})
@given(TABLES)
def test_any_table_encodes_to_finite_inputs_of_the_declared_width_and_norm(columns):
    table = table_of(**columns)
    schema = draft_schema(table, label=None).schema
    inputs = encode_inputs(table, schema)
    assert inputs.shape == (len(table), schema.width)
    assert inputs.dtype == torch.float32
    assert bool(torch.isfinite(inputs).all())
    assert float(inputs.norm(dim=1).max()) <= 1.0 + 1e-5


@settings(deadline=None)
@given(TABLES, st.data())
def test_the_encoding_of_a_row_does_not_depend_on_other_rows(columns, data):
    table = table_of(**columns)
    schema = draft_schema(table, label=None).schema
    grouped = [column for column in schema.columns if not isinstance(column, Ignored)]
    kept = np.array(data.draw(st.lists(st.booleans(), min_size=len(table), max_size=len(table))))
    part = table.select(kept)
    assert torch.equal(encode_inputs(table, schema)[torch.from_numpy(kept)], encode_inputs(part, schema))
    whole, alone = encode_groups(table, grouped), encode_groups(part, grouped)
    for name, attribute in whole.items():
        assert torch.equal(attribute.codes[torch.from_numpy(kept)], alone[name].codes)


@settings(deadline=None)
@given(TABLES, TABLES)
def test_a_schema_of_one_table_encodes_any_other(columns, others):
    schema = draft_schema(table_of(**columns), label=None).schema
    rows = len(next(iter(others.values())))
    table = table_of(**{name: others.get(name, [None] * rows) for name in columns})
    assert bool(torch.isfinite(encode_inputs(table, schema)).all())
    for column in schema.columns:
        if not isinstance(column, Ignored):
            codes = encode_groups(table, [column])[column.name].codes
            assert 0 <= int(codes.min()) <= int(codes.max()) < len(column.groups)


@pytest.mark.parametrize(
    ("cell", "knots"), [("0", {0: 1.0}), ("80", {8: 1.0}), ("5", {0: 0.5, 1: 0.5}), ("40", {4: 1.0})]
)
def test_a_number_is_shared_by_the_knots_next_to_it(cell, knots):
    assert inputs_of("age", cell) == pytest.approx([knots.get(knot, 0.0) for knot in range(NUM_KNOTS)] + [0.0])


def test_numbers_outside_the_range_count_as_its_ends():
    assert inputs_of("age", "-3") == inputs_of("age", "0")
    assert inputs_of("age", "1e300") == inputs_of("age", "80")


@pytest.mark.parametrize("cell", [None, "?", "", "not done"])
def test_a_missing_number_is_an_input_of_its_own_and_nothing_else(cell):
    assert inputs_of("age", cell) == [0.0] * NUM_KNOTS + [1.0]


def test_a_log_scale_spreads_the_values_near_the_low_end():
    """log(1 + 1000 x) / log(1001) of a range's tenth is 0.668, so 5.3 of 8 knots."""
    tenth = inputs_of("gain", "100")
    assert tenth[5] + tenth[6] == pytest.approx(1.0)
    assert tenth[6] == pytest.approx(8 * np.log(101) / np.log(1001) - 5, abs=1e-5)


def test_words_are_one_hot_with_places_for_others_and_for_none():
    assert inputs_of("ward", "south") == [0, 1, 0, 0]
    assert inputs_of("ward", "east") == [0, 0, 1, 0]
    assert inputs_of("ward", None) == [0, 0, 0, 1]


def test_two_words_are_one_signed_input():
    assert [inputs_of("sex", cell) for cell in ("f", "m", None, "x")] == [[-1, 0], [1, 0], [0, 1], [0, 1]]


def test_columns_that_are_not_used_are_no_inputs_but_may_be_groups():
    assert torch.equal(encode_inputs(row(hospital="A"), SCHEMA), encode_inputs(row(hospital="B"), SCHEMA))
    groups = encode_groups(row(hospital="B"), [SCHEMA.columns[-1]])
    assert groups["hospital"].vocabulary == ("A", "B", "unknown")
    assert groups["hospital"].codes.tolist() == [1]


@pytest.mark.parametrize(
    ("column", "cell", "group"),
    [
        ("age", "39.9", "below 40"),
        ("age", "40", "40 to 65"),
        ("age", "65", "65 and above"),
        ("age", None, "unknown"),
        ("ward", "south", "south"),
        ("ward", "east", "unknown"),
        ("sex", None, "unknown"),
    ],
)
def test_groups_have_declared_names_and_the_rest_is_unknown(column, cell, group):
    attribute = encode_groups(row(**{column: cell}), [SCHEMA.column(column)])[column]
    assert attribute.vocabulary[int(attribute.codes)] == group


def test_infinite_numbers_are_refused():
    with pytest.raises(DataError, match=r"column 'age' of t.csv holds infinite numbers in 1 of 1 rows"):
        encode_inputs(row(age="-inf"), SCHEMA)


def test_labels_outside_the_declared_classes_are_refused_without_telling_them():
    label = Label(name="ward", classes=("north", "south"))
    assert encode_label(row(ward="south"), label).tolist() == [1]
    with pytest.raises(
        DataError, match="values in 1 of 1 rows that are not declared; expected one of north, south"
    ) as e:
        encode_label(row(ward="secret"), label)
    assert "secret" not in str(e.value)
    with pytest.raises(DataError, match="is empty in 1 rows"):
        encode_label(row(ward=None), label)
