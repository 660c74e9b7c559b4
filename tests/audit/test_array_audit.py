"""``from fedcore.audit import audit``: the audit of arrays, against fairlearn and against the command."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fedcore.audit import audit
from fedcore.cli import main
from fedcore.errors import DataError, PlanError
from tests.audit.bias_table import Command, options, write_table

NUM_ROWS = 600


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    drawn = np.random.default_rng(5)
    sex, race = drawn.choice(["f", "m"], NUM_ROWS), drawn.choice(["a", "b", "c"], NUM_ROWS)
    y = (drawn.random(NUM_ROWS) < 0.35 + 0.1 * (sex == "m")).astype(int)
    score = np.clip(0.35 * y + 0.1 * (sex == "m") + 0.55 * drawn.random(NUM_ROWS), 0, 1).round(3)
    return pd.DataFrame({"y": y, "score": score, "sex": sex, "race": race}, index=drawn.permutation(NUM_ROWS))


def test_rates_and_gaps_are_those_of_fairlearn(rows: pd.DataFrame) -> None:
    import fairlearn.metrics as oracle
    from sklearn.metrics import accuracy_score

    chosen = (rows.score >= 0.5).astype(int)
    functions = {
        "accuracy": accuracy_score,
        "selection_rate": oracle.selection_rate,
        "true_positive_rate": oracle.true_positive_rate,
        "false_positive_rate": oracle.false_positive_rate,
    }
    frame = oracle.MetricFrame(metrics=functions, y_true=rows.y, y_pred=chosen, sensitive_features=rows.sex)
    found = audit(rows.y, chosen, groups=rows[["sex"]])

    for metric in functions:
        for group in "fm":
            assert found.by_group.loc[("sex", group, metric), "value"] == pytest.approx(frame.by_group[metric][group])
        gap = found.gaps.loc[("sex", metric)]
        assert gap["difference"] == pytest.approx(frame.difference()[metric])
        assert gap["ratio"] == pytest.approx(frame.ratio()[metric])
        assert gap["low"] <= gap["difference"] <= gap["high"]
    assert found.gaps.loc[("sex", "selection_rate"), "highest_n"] == (rows.sex == "m").sum()


def test_the_numbers_are_those_of_the_command(
    rows: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_table(tmp_path / "rows.csv", {name: rows[name].tolist() for name in rows})
    asked = options(label="y", score="score", group=["sex", "sex*race"], limit="impact_ratio>=0.1")
    printed = Command(monkeypatch, capsys).json(table, *asked)
    found = audit(
        rows.y, rows.score, groups=rows[["sex", "race"]], crossed=["sex*race"], limits={"impact_ratio": (0.1, None)}
    ).to_json()

    assert found["groups"]["sex"] == printed["groups"]["sex"]
    assert found["gaps"]["sex*race"] == printed["gaps"]["sex*race"]


@pytest.mark.parametrize("taken", [np.asarray, list, pd.Series, lambda values: np.asarray(values)[:, None]])
def test_arrays_lists_and_series_are_taken_by_position(rows: pd.DataFrame, taken: Any) -> None:
    expected = audit(rows.y, rows.score, groups=rows[["sex"]])
    found = audit(taken(rows.y.to_numpy()), taken(rows.score.to_numpy()), groups={"sex": rows.sex.tolist()})

    pd.testing.assert_frame_equal(found.by_group, expected.by_group)


@pytest.mark.parametrize(
    ("y_true", "predicted", "found"),
    [
        ([0, 1] * 50, [0, 1] * 50, "decisions"),
        ([0, 1] * 50, [False, True] * 50, "decisions"),
        (["no", "yes"] * 50, ["yes", "no"] * 50, "decisions"),
        ([1.0, 0.0] * 50, [0.2, 0.9] * 50, "scores"),
        ([0, 1, 2, 3] * 25, [1, 1, 2, 0] * 25, "decisions"),
        (np.arange(100) / 7, np.arange(100) / 8, "numbers"),
        (np.arange(100), np.arange(100), "numbers"),
        (None, [0, 1] * 50, "decisions"),
        (None, np.linspace(0, 1, 100), "scores"),
    ],
)
def test_the_kind_is_found_from_the_values(y_true: Any, predicted: Any, found: str) -> None:
    asked = audit(y_true, predicted, groups=["a"] * 50 + ["b"] * 50).result.options
    kind = "numbers" if asked.kind == "regression" else "scores" if asked.score else "decisions"

    assert kind == found


def test_bands_crossings_and_references_are_those_of_the_command(rows: pd.DataFrame) -> None:
    groups = rows[["sex"]].assign(age=np.arange(NUM_ROWS) % 60)
    found = audit(
        rows.y, rows.score, groups=groups, bands={"age": (20, 40)}, crossed=["sex*age"], references={"sex": "m"}
    )

    assert set(found.by_group.loc["age"].index.get_level_values("group")) == {"below 20", "20 to 40", "40 and above"}
    assert found.to_json()["to_reference"]["sex"]["reference"] == "m"
    assert "sex*age" in found.gaps.index.get_level_values("attribute")


def test_a_limit_is_judged_with_reasons(rows: pd.DataFrame) -> None:
    within = audit(rows.y, rows.score, groups=rows[["sex"]], limits={"min(accuracy)": (0.3, None)})
    beyond = audit(rows.y, rows.score, groups=rows[["sex"]], limits={"sex:max(accuracy)": (None, 0.1)})

    assert (within.verdict, beyond.verdict, audit(rows.y, rows.score, groups=rows[["sex"]]).verdict) == (
        "PASS",
        "FAIL",
        None,
    )
    assert within.reasons[0].startswith("accuracy in every group of sex at least 0.3: PASS")


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"predicted": [0, 1]}, DataError, "y_true has 4, predicted has 2, group has 4"),
        (
            {"predicted": [0.1, np.nan, 0.5, 0.9]},
            DataError,
            "'predicted' of arrays: 1 cell, the first in row 2",
        ),
        ({"predicted": [0.1, np.nan, 0.5, 0.9]}, DataError, 'missing="drop"'),
        ({"y_true": [0, None, 1, 1]}, DataError, "'y_true' of arrays: 1 cell, the first in row 2, empty"),
        ({"groups": ["a"] * 4}, DataError, r"'group' has one group only \(a\)"),
        ({"groups": ["a", "a", "a", None]}, DataError, "one group only"),
        ({"groups": pd.DataFrame({"predicted": list("abab")})}, DataError, "may be called 'predicted'"),
        ({"limits": {"impct_ratio": (0.8, None)}}, PlanError, "did you mean 'impact_ratio'"),
        ({"limits": {"accuracy": 0.1}}, PlanError, r"needs \(least, most\)"),
        ({"kind": "score"}, PlanError, "kind must be decisions, scores, numbers or None"),
        ({"predicted": [[0.1, 0.9]] * 4}, DataError, "one value a row"),
        ({"predicted": [1, 20, 30, 99.5]}, DataError, r"score_range=\(LOW, HIGH\)"),
        ({"references": {"group": "z"}}, PlanError, "'z' is none of its groups, a, b"),
        ({"y_true": [], "predicted": [], "groups": []}, DataError, "no rows"),
    ],
)
def test_bad_input_is_refused_by_the_names_of_arguments(given: Any, error: type[Exception], message: str) -> None:
    right = {"y_true": [0, 1, 0, 1], "predicted": [0.1, 0.9, 0.4, 0.8], "groups": list("abab")}

    with pytest.raises(error, match=message) as raised:
        audit(**{**right, **given})
    assert "--" not in str(raised.value)


def test_the_page_needs_no_network_and_no_script(rows: pd.DataFrame, tmp_path: Path) -> None:
    found = audit(
        rows.y, rows.score, groups=rows[["sex", "race"]].assign(sex=rows.sex + "<b>"), limits={"auc": (None, 0.5)}
    )
    page = found.save(tmp_path / "audit.html").read_text(encoding="utf-8")

    assert "<script" not in page
    assert not re.search(r"(src|href)=\"(?!#)|url\(|@import", page)
    assert page.count("<svg") > 4
    assert "f<b>" not in page
    assert "PASS" in page


def test_the_page_hides_small_groups_that_the_notebook_shows(rows: pd.DataFrame, tmp_path: Path) -> None:
    group = np.where(np.arange(NUM_ROWS) < 4, "rare", rows.sex)
    found = audit(rows.y, rows.score, groups={"group": group})
    page = found.save(tmp_path / "audit.html").read_text(encoding="utf-8")

    assert found.by_group.loc[("group", "rare", "accuracy"), "n"] == 4
    assert "not shown (protects cells of fewer than 10 rows)" in page


def test_the_command_writes_the_page(
    rows: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_table(tmp_path / "rows.csv", {name: rows[name].tolist() for name in rows})
    Command(monkeypatch, capsys)(table, *options(label="y", score="score", group="sex", out=tmp_path / "out"))

    assert "<h1>rows.csv</h1>" in (tmp_path / "out" / "audit.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("metric", [None, "impact_ratio", "auc"])
def test_a_picture_shows_itself_in_a_notebook(rows: pd.DataFrame, metric: str | None) -> None:
    found = audit(rows.y, rows.score, groups=rows[["sex"]])
    picture = found.plot(metric)

    assert picture.svg.startswith("<svg")
    assert picture._repr_html_().startswith("<iframe sandbox")
    assert found._repr_html_().startswith("<iframe sandbox")
    with pytest.raises(PlanError, match="did you mean 'accuracy'"):
        found.plot("acuracy")


def test_importing_the_audit_imports_nothing_that_costs_seconds() -> None:
    asked = "import sys, fedcore.audit; assert not {'numpy', 'pandas', 'scipy', 'torch'} & {*sys.modules}, sys.modules"

    subprocess.run([sys.executable, "-c", asked], check=True)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"predicted": None}, "predicted: expected decisions, scores or numbers, one for each row; found None"),
        ({"groups": "sex"}, "groups: expected columns of values, .* such as df[['sex']]; found the text 'sex'"),
        ({"groups": ["sex", "race"]}, "such as df[['sex', 'race']]; found the text 'sex', 'race'"),
        ({"y_true": "y"}, "y_true: expected values, one for each row, such as df['y']; found the text 'y'"),
        ({"weights": "w"}, "weights: expected values, one for each row"),
    ],
)
def test_names_in_the_place_of_columns_are_refused_with_an_example(
    rows: pd.DataFrame, given: dict[str, Any], words: str
) -> None:
    usual = {"y_true": rows.y, "predicted": rows.score, "groups": rows[["sex"]]}
    with pytest.raises(DataError) as refused:
        audit(**{**usual, **given})
    assert all(part in str(refused.value) for part in words.split(".*"))


def test_an_unknown_argument_is_refused_with_the_nearest_one(rows: pd.DataFrame) -> None:
    with pytest.raises(PlanError, match="unknown argument of audit: 'thresold'; did you mean 'threshold'"):
        audit(rows.y, rows.score, groups=rows.sex, thresold=0.4)  # type: ignore[call-arg]


@pytest.mark.parametrize("name", ["a.json", "page", "a.html.txt"])
def test_a_page_is_not_saved_under_the_name_of_another_kind_of_file(
    rows: pd.DataFrame, tmp_path: Path, name: str
) -> None:
    found = audit(rows.y, rows.score, groups=rows.sex)
    with pytest.raises(PlanError, match=f"expected a name that ends in .html, found '.*{re.escape(name)}'"):
        found.save(tmp_path / name)
    assert found.save(str(tmp_path / "PAGE.HTM")).exists()


def test_the_command_names_the_files_that_it_wrote_and_asks_for_none(
    rows: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table, out = write_table(tmp_path / "t.csv", rows.to_dict("list")), tmp_path / "kept"
    words = ["fedcore", "audit", "bias", str(table), "--label", "y", "--score", "score", "--group", "sex"]
    for more in ([], ["--out", str(out)]):
        monkeypatch.setattr(sys, "argv", [*words, *more])
        with pytest.raises(SystemExit):
            main()
    told = capsys.readouterr()
    assert told.out.count("--out DIR or --json keeps them") == 1
    assert f"wrote {out / 'audit.html'}, {out / 'bias.json'}, {out / 'bias.txt'}\n" in told.err
