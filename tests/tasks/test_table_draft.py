"""What a column is taken for."""

import numpy as np
import pytest

from fedcore.errors import DataError
from fedcore.tasks.tabular.columns import Binary, Categorical, Ignored, Numeric
from fedcore.tasks.tabular.draft import draft_label, draft_schema
from fedcore.tasks.tabular.table import read_table
from tests.tasks.builders import write_csv


def table_of(tmp_path, **columns):
    return read_table(write_csv(tmp_path / "t.csv", columns))


def drafted(tmp_path, cells, *, grouped=False):
    """A table of one column `c`: its description, and why it was left out."""
    draft = draft_schema(table_of(tmp_path, c=cells), label=None, grouped=["c"] if grouped else [])
    return draft.schema.columns[0], draft.reasons.get("c")


def test_numbers_have_a_range_rounded_outward_to_two_digits(tmp_path):
    column, _ = drafted(tmp_path, [*np.linspace(101.3, 188.8, 99).round(4), None])
    assert column == Numeric(name="c", range=(101.0, 189.0), bands=(123.0, 145.0, 167.0))


def test_a_single_extreme_value_does_not_show_in_a_range(tmp_path):
    values = np.random.default_rng(0).normal(50, 5, 2000).round(2).tolist()
    column, _ = drafted(tmp_path, [*values, 1e6])
    assert column.range[1] < 100


def test_a_long_tail_asks_for_a_log_scale(tmp_path):
    tail = np.random.default_rng(0).lognormal(5, 2, 2000).round(2).tolist()
    assert drafted(tmp_path, tail)[0].scale == "log"
    assert drafted(tmp_path, np.linspace(0, 1, 100).tolist())[0].scale == "linear"


def test_a_few_odd_words_leave_a_column_numeric(tmp_path):
    column, _ = drafted(tmp_path, [*np.linspace(0, 1, 99).tolist(), "not done"])
    assert isinstance(column, Numeric)


def test_a_word_for_infinity_in_a_column_of_words_is_a_word(tmp_path):
    assert drafted(tmp_path, ["inf", "ward", "icu"] * 10)[0].categories == ("icu", "inf", "ward")


def test_up_to_five_whole_numbers_are_codes(tmp_path):
    assert drafted(tmp_path, [3, 1, 10, 2] * 10)[0] == Categorical(name="c", categories=("1", "2", "3", "10"))
    assert isinstance(drafted(tmp_path, [0.5, 1, 10, 2] * 10)[0], Numeric)


def test_two_values_are_binary_in_their_order(tmp_path):
    assert drafted(tmp_path, ["m", "f", None] * 10)[0] == Binary(name="c", categories=("f", "m"))
    assert drafted(tmp_path, [10, 9] * 10)[0] == Binary(name="c", categories=("9", "10"))


def test_rare_words_are_not_declared_unless_they_are_groups(tmp_path):
    cells = ["often"] * 20 + ["also"] * 9 + ["rarely"] * 2
    assert drafted(tmp_path, cells)[0].categories == ("also", "often")
    assert drafted(tmp_path, cells, grouped=True)[0].categories == ("also", "often", "rarely")


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        (["?"] * 30, "holds no value"),
        (["same"] * 30, "holds one value only"),
        (["1", "1.0", "01"] * 10, "holds one value only"),
        ([f"name {row}" for row in range(30)], "mostly different words"),
        (range(1, 31), "counts the rows"),
    ],
)
def test_columns_that_say_nothing_are_left_out_with_the_reason(tmp_path, cells, reason):
    column, told = drafted(tmp_path, list(cells) if not isinstance(cells, list) else cells)
    assert isinstance(column, Ignored)
    assert reason in told


def test_groups_of_numbers_are_bands(tmp_path):
    column, _ = drafted(tmp_path, list(range(20, 80)), grouped=True)
    assert column.groups == ("below 35", "35 to 50", "50 to 64", "64 and above", "unknown")


def test_bands_of_mostly_zeros_part_zeros_from_the_rest(tmp_path):
    column, _ = drafted(tmp_path, [0] * 90 + [900, 1000, 1100, 1200, 1500, 1700, 2000, 2100, 3000, 4100])
    assert len(column.bands) == 1
    assert 0 < column.bands[0] <= 4100


@pytest.mark.parametrize("cells", [[1e15, 1e15 + 0.25, 1e15 + 0.5], [-1e300, 0, 1e300], [0, 1e-300, 2e-300]])
def test_ranges_of_extreme_numbers_are_ranges(tmp_path, cells):
    column, _ = drafted(tmp_path, [repr(float(cell)) for cell in cells] * 10)
    assert isinstance(column, Categorical | Numeric)


def test_infinite_numbers_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"column 'c' of t.csv holds infinite numbers in 2 of 52 rows"):
        drafted(tmp_path, [*range(0, 500, 10), "inf", "-inf"])


def test_a_group_without_values_or_with_too_many_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds no value in the training rows, so it has no groups"):
        drafted(tmp_path, ["?"] * 9, grouped=True)
    with pytest.raises(DataError, match="150 different values; expected at most 100 groups"):
        drafted(tmp_path, [f"name {row}" for row in range(150)], grouped=True)


@pytest.mark.parametrize(
    ("cells", "classes"),
    [
        (["<=50K"] * 8 + [">50K"] * 3, ("<=50K", ">50K")),
        (["sick"] * 8 + ["well"] * 3, ("sick", "well")),
        (["well"] * 8 + ["sick"] * 3, ("well", "sick")),
        ([1] * 8 + [0] * 3, ("0", "1")),
        ([2, 1, 3, 10], ("1", "2", "3", "10")),
    ],
)
def test_the_positive_class_is_the_larger_number_or_the_rarer_word(tmp_path, cells, classes):
    assert draft_label(table_of(tmp_path, y=cells), "y").classes == classes


def test_what_is_no_label_is_refused(tmp_path):
    with pytest.raises(DataError, match="has 1 different value"):
        draft_label(table_of(tmp_path, y=["a", "a", None]), "y")
    with pytest.raises(DataError, match="has 21 different values; expected at most 20 classes: bin it"):
        draft_label(table_of(tmp_path, y=list(range(21))), "y")
    with pytest.raises(DataError, match="is it an identifier"):
        draft_label(table_of(tmp_path, y=[f"name {row}" for row in range(101)]), "y")
