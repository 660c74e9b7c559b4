"""``fedcore audit bias --kind regression``: how far predicted numbers are off, by group."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.audit.bias_table import Command, options, write_table

COLUMNS: dict[str, list[object]] = {
    "paid": [10, 20, 30, 40],
    "offered": [11, 19, 33, 36],
    "sex": ["f", "m", "f", "m"],
    "n": [10, 10, 10, 10],
}
PLAIN: dict[str, object] = {"kind": "regression", "label": "paid", "prediction": "offered", "group": "sex"}


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def offers(tmp_path: Path, n: int = 600) -> tuple[Path, dict[str, list[object]]]:
    drawn = np.random.default_rng(0)
    sex, paid = drawn.integers(0, 2, n), drawn.normal(500, 80, n).round(2)
    offered = (paid + drawn.normal(0, np.where(sex == 0, 10, 30))).round(2)
    columns = {"paid": paid.tolist(), "offered": offered.tolist(), "sex": np.array(["f", "m"])[sex].tolist()}
    return write_table(tmp_path / "t.csv", columns), columns


def test_errors_by_group_are_those_of_the_rows(audit: Command, tmp_path: Path) -> None:
    from sklearn.metrics import mean_absolute_error, r2_score

    table, columns = offers(tmp_path)
    content = audit.json(table, *options(**PLAIN))

    women = [place for place, sex in enumerate(columns["sex"]) if sex == "f"]
    y, p = (np.array(columns[name], dtype=float)[women] for name in ("paid", "offered"))
    told = content["groups"]["sex"]["f"]
    assert told["mean_absolute_error"]["value"] == pytest.approx(mean_absolute_error(y, p), rel=1e-10)
    assert told["r_squared"]["value"] == pytest.approx(r2_score(y, p), rel=1e-10)
    assert told["mean_error"]["n"] == len(women)
    assert content["kind"] == "regression"
    assert set(content["gaps"]["sex"]["mean_absolute_error"]) == {
        "difference", "low", "high", "ratio", "ratio_low", "ratio_high", "highest", "lowest",
        "highest_count", "lowest_count", "over_all_pairs",
    }  # fmt: skip
    assert content["bounded_group_loss"]["sex"]["mean_absolute_error"]["group"] == "m"
    assert content["verdict"] is None


def test_distances_between_predictions_are_scipy_s(audit: Command, tmp_path: Path) -> None:
    from scipy.stats import ks_2samp, wasserstein_distance

    table, columns = offers(tmp_path)
    sex, offered = np.array(columns["sex"]), np.array(columns["offered"], dtype=float)
    gaps = audit.json(table, *options(**PLAIN))["gaps"]["sex"]

    samples = [offered[sex == one] for one in "fm"]
    assert gaps["kolmogorov_smirnov"]["difference"] == pytest.approx(ks_2samp(*samples).statistic, abs=1e-12)
    assert gaps["wasserstein"]["difference"] == pytest.approx(wasserstein_distance(*samples), abs=1e-9)


@pytest.mark.parametrize(
    ("limit", "code", "verdict"),
    [
        ("max(mean_absolute_error)<=40", 0, "PASS"),
        ("mean_absolute_error<=5", 3, "FAIL"),
        ("min(r_squared)>=0.5", 0, "PASS"),
        ("mean_error<=2.5", 4, "INCONCLUSIVE"),
    ],
)
def test_limits_are_judged(audit: Command, tmp_path: Path, limit: str, code: int, verdict: str) -> None:
    given = [*options(**PLAIN, limit=limit), "--fail-on-inconclusive"]

    assert audit.json(offers(tmp_path)[0], *given, code=code)["verdict"] == verdict


def test_counts_of_rows_are_the_same_as_the_rows(audit: Command, tmp_path: Path) -> None:
    counted = audit.json(write_table(tmp_path / "n.csv", COLUMNS), *options(**PLAIN, weight="n"))
    repeated = {name: [value for value in values for _ in range(10)] for name, values in COLUMNS.items()}
    rows = audit.json(write_table(tmp_path / "r.csv", repeated), *options(**PLAIN))

    assert counted["table"]["rows"] == rows["table"]["rows"] == 40
    for metric, one in rows["groups"]["sex"]["f"].items():
        assert counted["groups"]["sex"]["f"][metric]["value"] == pytest.approx(one["value"])


def test_a_small_group_is_not_shown(audit: Command, tmp_path: Path) -> None:
    columns = {name: values * 20 for name, values in COLUMNS.items()}
    columns["sex"] = [*columns["sex"][:-2], "x", "x"]
    content = audit.json(write_table(tmp_path / "t.csv", columns), *options(**PLAIN, min_cell=10))

    assert "x" in content["suppressed"]["sex"]
    assert content["groups"]["sex"]["x"]["mean_absolute_error"] == {"value": None, "low": None, "high": None, "n": None}
    assert "not shown" in audit(tmp_path / "t.csv", *options(**PLAIN, min_cell=10))


@pytest.mark.parametrize(
    ("columns", "given", "message"),
    [
        ({"paid": [1, "", 3, 4]}, PLAIN, "column 'paid' of t.csv: 1 cell, the first in row 2, empty"),
        ({"offered": [1, "a", 3, 4]}, PLAIN, "column 'offered' of t.csv: 1 cell, the first in row 2, no number"),
        ({"paid": [5] * 4, "offered": [5] * 4}, PLAIN, "every target and every prediction is 5; nothing can be off"),
        ({}, {**PLAIN, "label": "n", "weight": "n"}, "column 'n' is given both as --weight and as what it weighs"),
        (
            {},
            {"kind": "regression", "prediction": "offered", "group": "sex"},
            "needs --label COL, what turned out true",
        ),
        ({}, {**PLAIN, "site": "n"}, "--site has no meaning in a regression"),
        ({}, {**PLAIN, "threshold": 1}, "--threshold has no meaning in a regression"),
        ({}, {**PLAIN, "profile": "nyc-ll144"}, "--profile nyc-ll144 has no meaning in a regression"),
        ({}, {**PLAIN, "profile": "nist"}, "there is no profile 'nist'"),
        ({}, {**PLAIN, "limit": "accuracy<=0.1"}, "accuracy is not measured here; measured are mean_absolute_error"),
        ({}, {**PLAIN, "kind": "regresion"}, "there is no --kind 'regresion'"),
        ({}, {**PLAIN, "kind": "ranking"}, "there is no --kind 'ranking'; there are classification, regression"),
    ],
)
def test_bad_input_is_refused(
    audit: Command, tmp_path: Path, columns: dict[str, list[object]], given: dict[str, object], message: str
) -> None:
    assert message in audit.refused(write_table(tmp_path / "t.csv", {**COLUMNS, **columns}), *options(**given))


def test_numbers_given_as_labels_point_to_this_kind(audit: Command, tmp_path: Path) -> None:
    table, _ = offers(tmp_path)

    assert "of numbers give --kind regression" in audit.refused(
        table, *options(label="paid", prediction="offered", group="sex")
    )


@pytest.mark.parametrize("profile", ["eu-ai-act", "nist-ai-rmf", "model-card"])
def test_a_document_tells_the_errors(audit: Command, tmp_path: Path, profile: str) -> None:
    told = audit(offers(tmp_path)[0], *options(**PLAIN, profile=profile), "--out", tmp_path / "evidence")

    assert "Predictions offered of the number paid." in told
    assert "| mean absolute error | m (" in told
    assert (tmp_path / "evidence" / "bias.md").read_text(encoding="utf-8") == told
