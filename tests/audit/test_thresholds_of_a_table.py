"""``fedcore audit bias --group-thresholds``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.audit.bias_table import Command, options, write_table

SCORED: dict[str, object] = {"label": "y", "score": "s", "group": ["sex", "sex*ward"]}


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def scored(path: Path, rows: int = 4000, *, most: float = 1.0) -> Path:
    generator = np.random.default_rng(5)
    female = generator.random(rows) < 0.4
    labels = (generator.random(rows) < np.where(female, 0.2, 0.45)).astype(int)
    scores = generator.normal(0.35 + 0.25 * labels - 0.1 * female, 0.15).clip(0, 1)
    columns = {
        "y": labels,
        "s": (most * scores).round(4),
        "sex": np.where(female, "f", "m"),
        "ward": generator.choice(["north", "south"], rows),
    }
    columns["sex"][:50] = ""
    return write_table(path, {name: values.tolist() for name, values in columns.items()})


def test_every_group_option_gets_thresholds_with_the_warning(audit: Command, tmp_path: Path) -> None:
    told = audit.json(scored(tmp_path / "t.csv"), *options(**SCORED, group_thresholds="true_positive_rate"))

    found = told["group_thresholds"]
    assert set(found) == {"sex", "sex*ward"}
    by_sex = found["sex"]
    assert "42 U.S.C. 2000e-2(l)" in by_sex["warning"]
    assert "no legal advice" in by_sex["warning"]
    assert by_sex["groups"]["f"]["threshold"] < 0.5
    assert by_sex["groups"]["unknown"]["threshold"] == 0.5
    gaps = [by_sex["gaps"][when]["true_positive_rate"]["difference"] for when in ("before", "after")]
    assert gaps[0] > 0.2
    assert gaps[1] < gaps[0] / 2
    assert by_sex["rows"] == {"chosen_on": 2000, "judged_on": 2000}
    assert by_sex["accuracy"]["cost"]["low"] <= by_sex["accuracy"]["cost"]["value"]


def test_without_the_option_nothing_is_chosen_and_nothing_else_changes(audit: Command, tmp_path: Path) -> None:
    table = scored(tmp_path / "t.csv")
    plain = audit.json(table, *options(**SCORED))
    asked = audit.json(table, *options(**SCORED, group_thresholds="selection_rate"))

    assert plain["group_thresholds"] == {}
    assert {**asked, "group_thresholds": {}} == plain


def test_the_text_has_thresholds_price_and_warning(audit: Command, tmp_path: Path) -> None:
    told = audit(scored(tmp_path / "t.csv"), *options(**SCORED, group_thresholds="selection_rate"))

    assert "a threshold for each sex, to close the gap in selection rate; judged on rows that it was not" in told
    assert "points (" in told.partition("gap in selection rate:")[2]
    assert "accuracy:" in told
    assert " a cost of " in told
    assert "warning: A threshold for each group decides by the group" in told
    assert "unknown  0.5, kept" in told


def test_a_threshold_off_the_steps_is_the_one_that_is_judged_before(audit: Command, tmp_path: Path) -> None:
    for most, threshold in ((1.0, 1 / 3), (10.0, 0.3), (10.0, 3.3333)):
        given = {**SCORED, "score_range": f"0,{most:g}", "threshold": threshold}
        told = audit.json(scored(tmp_path / "t.csv", most=most), *options(**given, group_thresholds="selection_rate"))
        found = told["group_thresholds"]["sex"]
        assert found["threshold"] == threshold
        assert all(0 < one["threshold"] < most for one in found["groups"].values())


def test_of_a_small_table_everything_is_kept_back(audit: Command, tmp_path: Path) -> None:
    told = audit.json(scored(tmp_path / "t.csv", rows=60), *options(**SCORED, group_thresholds="selection_rate"))

    found = told["group_thresholds"]["sex"]
    assert found["groups"]["m"]["threshold"] == 0.5
    assert (
        found["groups"]["m"]["kept"]
        == "none or fewer than 10 rows of a label or decision in a half, or kept back with such a group"
    )
    assert found["gaps"]["after"]["selection_rate"]["difference"] is None
