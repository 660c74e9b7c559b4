"""Every bad table or option ends in one clear line and exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.audit.bias_table import Command, options, write_table

COLUMNS: dict[str, list[object]] = {
    "y": [0, 1, 0, 1],
    "p": [0, 1, 1, 1],
    "s": [0.1, 0.9, 0.6, 0.7],
    "sex": ["f", "m", "f", "m"],
    "race": ["x", "x", "y", "y"],
    "n": [10, 10, 10, 10],
}
PLAIN: dict[str, object] = {"label": "y", "prediction": "p", "group": "sex"}
CHOSEN: dict[str, object] = {"prediction": "p", "group": "sex"}
SCORED: dict[str, object] = {"label": "y", "score": "s", "group": "sex"}


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


@pytest.mark.parametrize(
    ("columns", "given", "message"),
    [
        ({}, {**PLAIN, "label": "Y"}, "has no column 'Y'; did you mean 'y'? it has y, p, s, sex, race, n"),
        ({"y": [1, 1, 1, 1]}, {**PLAIN, "prediction": "y"}, "has one value only (1)"),
        ({}, {**PLAIN, "positive": "2"}, "--positive '2' is not a value of column 'y' of t.csv; it has 0, 1"),
        ({}, {**PLAIN, "score": "s"}, "either --score COL or --prediction COL, and not both"),
        ({}, {"label": "y", "group": "sex"}, "either --score COL or --prediction COL, and not both"),
        ({"s": [0.1, "", 0.6, 0.7]}, SCORED, "column 's' of t.csv: 1 cell, the first in row 2, empty"),
        ({"s": [0.1, 0.2, 1.6, 0.7]}, SCORED, "1 cell, the first in row 3, outside 0 to 1; give probabilities"),
        ({"s": [0.1, 0.2, "inf", 0.7]}, SCORED, "1 cell, the first in row 3, no number"),
        ({"n": [10, -1, 10, 10]}, {**PLAIN, "weight": "n"}, "row 2, negative; a row stands for 0 rows or more"),
        ({"n": [10, 1.5, 10, 10]}, {**PLAIN, "weight": "n", "profile": "nyc-ll144"}, "holds fractional weights"),
        ({"n": [10, "", 10, 10]}, {**PLAIN, "weight": "n"}, "row 2, no number"),
        (
            {"n": [10, 2**53 + 2, 1, 1]},
            {**PLAIN, "weight": "n"},
            "row 2, over 9,007,199,254,740,992; so many",
        ),
        ({"n": [2**52, 2**52, 2**52, 1]}, {**PLAIN, "weight": "n"}, "sums to over 9,007,199,254,740,992; so many rows"),
        ({"n": ["1e300", 1, 1, 1]}, {**PLAIN, "weight": "n"}, "row 1, over 9,007,199,254,740,992"),
        ({"n": [0, 0, 0, 0]}, {**PLAIN, "weight": "n"}, "is 0 in every row"),
        ({"y": [0, 1, "", 1]}, PLAIN, "column 'y' of t.csv: 1 cell, the first in row 3, empty"),
        ({"p": [0, 1, 2, 1]}, PLAIN, "column 'p' of t.csv predicts '2', not a value of the label 'y'"),
        ({"p": [0, 1, 2, 1]}, CHOSEN, "has 3 values (0, 1, 2); set with --positive which one is favourable"),
        ({"y": [0, 1, 2, 1]}, SCORED, "has 3 values (0, 1, 2); set with --positive which one is favourable"),
        (
            {"site": ["A", "B", "A", "B"]},
            {**PLAIN, "site": "site"},
            "sex: no two of its groups meet at any site, so that a gap between them cannot be separated from one",
        ),
        ({}, {**PLAIN, "limit": ["min(accuracy)>=0.9", "max(accuracy)<=0.2"]}, "no value is within both"),
        ({}, {**PLAIN, "group": "y"}, "column 'y' is given both as --group and as --label"),
        ({}, {**PLAIN, "group": ["sex", "sex"]}, "--group sex is given more than once"),
        ({}, {**PLAIN, "group": ["sex*race", "race*sex"]}, "--group sex*race and race*sex is given more than once"),
        ({}, {**PLAIN, "group": "sex*sex"}, "a crossing names two different columns"),
        ({}, {**PLAIN, "threshold": 0.5}, "--threshold cuts scores; it needs --score COL"),
        ({}, {**SCORED, "threshold": 2}, "--threshold 2 is outside the scores' range, 0 to 1"),
        ({}, {**SCORED, "score_range": "1,0"}, "LOW below HIGH"),
        ({}, {**SCORED, "score_range": "a"}, "--score-range must be two numbers"),
        ({}, {**PLAIN, "confidence": 1}, "--confidence must be at least 0.5 and below 1"),
        ({}, {**PLAIN, "limit": "accuracy"}, "expected METRIC<=NUMBER for a difference"),
        ({}, {**PLAIN, "limit": "acuracy<=0.1"}, "did you mean 'accuracy'?"),
        ({}, {**SCORED, "limit": "cross_group_auc<=0.1"}, "cross_group_auc is reported, and has no limit; give auc<=X"),
        ({}, {**SCORED, "limit": "wasserstein<=0.1"}, "has no limit; give selection_rate<=X\n"),
        (
            {},
            {**PLAIN, "kind": "regression", "limit": "bounded_group_loss<=3"},
            "no limit; give max(mean_absolute_error)<=X or max(root_mean_squared_error)<=X",
        ),
        ({}, {**PLAIN, "kind": "regression", "limit": "kolmogorov_smirnov<=1"}, "no limit; give mean_prediction<=X\n"),
        ({}, {**PLAIN, "limit": "exposure>=0.8"}, "unknown metric 'exposure'; measured here are accuracy, balanced"),
        (
            {},
            {**CHOSEN, "limit": "nonsense<=0.1"},
            "unknown metric 'nonsense'; measured here are selection_rate, demographic_parity, impact_ratio\n",
        ),
        ({}, {**PLAIN, "limit": "race:accuracy<=0.1"}, "attribute 'race' is not audited; audited are sex"),
        ({}, {**PLAIN, "limit": "accuracy<=x"}, "'x' is no number"),
        ({}, {**PLAIN, "limit": "accuracy<=1.5"}, "at-most must be over 0 and at most 1, not 1.5"),
        ({}, {**PLAIN, "limit": "impact_ratio<=0.1"}, "an impact ratio is a ratio; limit it with >="),
        ({}, {**PLAIN, "limit": ["accuracy<=0.1", "accuracy<=0.2"]}, "contradict each other; keep one"),
        ({}, {"prediction": "p", "group": "sex", "limit": "accuracy<=0.1"}, "accuracy is not measured here"),
        (
            {"y": ["a", "b", "c", "a"], "p": ["a", "b", "a", "a"]},
            {**PLAIN, "profile": "us-four-fifths"},
            "--profile us-four-fifths compares who is selected; set with --positive which label of column 'y' that is: "
            "it has a, b, c",
        ),
        (
            {"y": ["a", "b", "c", "a"], "p": ["a", "b", "a", "a"]},
            {**PLAIN, "profile": "nyc-ll144"},
            "--profile nyc-ll144 compares who is selected",
        ),
        (
            {},
            {**PLAIN, "kind": "regression", "profile": "nyc-ll144"},
            "--profile nyc-ll144 has no meaning in a regression",
        ),
        ({"y": [f"{i}" for i in range(60)]}, PLAIN, "has 60 different values, too many for classes"),
        ({"sex": [f"{i}" for i in range(300)]}, PLAIN, "has 300 different values, too many to be groups"),
        (
            {"sex": [f"{i % 20}" for i in range(400)], "race": [f"{i // 20}" for i in range(400)]},
            {**PLAIN, "group": "sex*race"},
            "sex*race has 400 combinations, too many to be groups (at most 200)",
        ),
    ],
)
def test_bad_input_is_refused(
    audit: Command, tmp_path: Path, columns: dict[str, list[object]], given: dict[str, object], message: str
) -> None:
    rows = max(map(len, columns.values()), default=4)
    whole = {name: (values * rows)[:rows] for name, values in {**COLUMNS, **columns}.items()}

    assert message in audit.refused(write_table(tmp_path / "t.csv", whole), *options(**given))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.csv", None, "no table at"),
        ("t.csv", "y,p,sex\n", "has no rows"),
        ("t.csv", "", "is empty"),
        ("t.xlsx", "y,p,sex\n0,1,f\n", "is neither a .csv nor a .parquet file"),
        ("t.parquet", "y,p,sex\n0,1,f\n", "cannot be read as Parquet"),
    ],
)
def test_what_is_no_table_is_refused(
    audit: Command, tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content, encoding="utf-8")

    assert message in audit.refused(tmp_path / name, *options(**PLAIN))


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ({**PLAIN, "kind": "regression", "score": "s"}, "--score"),
        ({**PLAIN, "kind": "regression", "threshold": 0.5}, "--threshold"),
        ({**PLAIN, "kind": "regression", "site": "n"}, "--site"),
    ],
)
def test_what_has_no_meaning_in_a_kind_is_told_once(
    audit: Command, tmp_path: Path, given: dict[str, object], option: str
) -> None:
    told = audit.refused(write_table(tmp_path / "t.csv", COLUMNS), *options(**given))

    assert f"{option} has no meaning in a {given['kind']}; leave it out" in told
    assert told.count("--") == 1


def test_a_command_in_a_column_s_name_is_shown_and_not_obeyed(audit: Command, tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", {**COLUMNS, "a\x1b[2J": [1, 1, 1, 1]})

    assert "a␛[2J" in audit.refused(table, *options(**{**PLAIN, "label": "Y"}))
