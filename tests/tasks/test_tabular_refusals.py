"""What ``tabular`` says to plans, tables and schemas that are wrong."""

import pytest

from fedcore.errors import DataError
from tests.tasks.builders import build_tabular, declared, patients, refusal, write_csv


@pytest.fixture
def table(tmp_path):
    return write_csv(tmp_path / "t.csv", patients())


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"label": "il"}, "task.options.label: there is no column 'il' in t.csv; did you mean 'ill'?"),
        ({"label": None}, "tabular needs to know what to predict; give --label COLUMN, one of pressure, sex"),
        ({"label": "pressure"}, "different values; expected at most 20 classes: bin it into classes first"),
        ({"audit": {"sensitive": ["ill"]}}, "audit.sensitive: column 'ill' is the label; name another one"),
        (
            {"federation": {"partition": "by:wart"}},
            "federation.partition: there is no column 'wart' in t.csv; did you mean 'ward'?",
        ),
        ({"task": {"options": {"hiden": [3]}}}, "unknown option of tabular: 'hiden'; did you mean 'hidden'?"),
        ({"task": {"options": {"hidden": [0]}}}, "task.options.hidden: expected a list of layer widths"),
        ({"task": {"options": {"schema": "none.toml"}}}, "no schema at none.toml"),
    ],
)
def test_wrong_plans_are_refused(table, sections, message):
    assert message in refusal(table, **sections)


def test_all_absent_columns_are_told_at_once(table):
    told = refusal(table, label="il", audit={"sensitive": ["sx", "agee*ward"]})
    assert told.splitlines() == [
        "task.options.label: there is no column 'il' in t.csv; did you mean 'ill'?",
        "audit.sensitive: there is no column 'sx' in t.csv; did you mean 'sex'?",
        "audit.sensitive: there is no column 'agee' in t.csv; did you mean 'age'?",
    ]


def test_a_task_without_a_table_or_schema_is_refused():
    assert "give --data FILE.csv or FILE.parquet" in refusal(None)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"ill": ["no"] * 120}, "label column 'ill' of t.csv has 1 different value(s)"),
        ({"pressure": ["inf", 3, 1, 2.5, 7.5, 6] * 20}, "column 'pressure' of t.csv holds infinite numbers"),
        ({"sex": ["?"] * 120}, "column 'sex' of t.csv holds no value in the training rows"),
    ],
)
def test_wrong_tables_are_refused(tmp_path, columns, message):
    path = write_csv(tmp_path / "t.csv", patients(**columns))
    assert message in refusal(path, audit={"sensitive": ["sex"]})


def test_a_table_without_inputs_is_refused(tmp_path):
    path = write_csv(tmp_path / "t.csv", {"ill": ["no", "yes"] * 30, "empty": [None] * 60})
    assert "no column is left as an input" in refusal(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[columns.sex]", "[columns.sax]"), "audit.sensitive: column 'sex' is not declared (did you mean 'sax'?)"),
        (("bands", "# bands"), "audit.sensitive: column 'age' has groups only with bands = [...]"),
        (
            ('kind = "binary"\ncategories = ["f", "m"]', 'kind = "ignored"'),
            "audit.sensitive: column 'sex' has groups only if it is not ignored",
        ),
        (('["no", "yes"]', '["no", "perhaps"]'), "values in 29 of 120 rows that are not declared"),
    ],
)
def test_schemas_that_do_not_fit_the_plan_are_refused(table, tmp_path, change, message):
    options = declared(table, tmp_path, change=lambda text: text.replace(*change))
    assert message in refusal(table, **options, audit={"sensitive": ["sex", "age"]})


def test_a_client_whose_table_contradicts_the_schema_is_refused(table, tmp_path):
    task = build_tabular(None, label=None, **declared(table, tmp_path))
    with pytest.raises(DataError, match=r"column 'sex': none of its 2 different values in own.csv is among"):
        task.load_data(write_csv(tmp_path / "own.csv", patients(sex=["1", "2"] * 60)))
    with pytest.raises(DataError, match=r"there is no column 'ill' in none.csv"):
        task.load_data(write_csv(tmp_path / "none.csv", {"pressure": [1]}))
