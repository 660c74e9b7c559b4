"""Profiles that are documents: what ``fedcore audit bias --profile`` writes for people to complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fedcore.audit.verdict.profiles import PROFILES
from tests.audit.bias_table import Command, count_table, options, write_table

HEADINGS = {
    "eu-ai-act": (
        "## 2(d) Data: main characteristics",
        "## 2(g) Validation and testing: metrics, potentially discriminatory impacts",
        "## 3 Capabilities and limitations: accuracy for specific persons or groups of persons",
    ),
    "nist-ai-rmf": ("## MEASURE 2.11", "### What was evaluated", "## Results", "## What remains"),
    "model-card": (
        "## Model details",
        "## Intended use",
        "## Factors",
        "## Metrics",
        "## Evaluation data",
        "## Training data",
        "## Quantitative analyses",
        "## Ethical considerations",
        "## Caveats and recommendations",
    ),
}
UGESP = {"White": (48, 80), "Black": (27, 60), "Hispanic": (24, 50), "Asian": (51, 100)}
HIRED = options(prediction="hired", weight="n", group="race")
DOCUMENTS = pytest.mark.parametrize("name", HEADINGS)


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def test_every_document_is_told_here() -> None:
    assert {name for name, profile in PROFILES.items() if profile.document} == set(HEADINGS)


@DOCUMENTS
def test_a_document_has_its_headings_in_order_with_date_source_and_figures(
    audit: Command, tmp_path: Path, name: str
) -> None:
    told = audit(count_table(tmp_path / "t.csv", UGESP), *HIRED, *options(profile=name, limit="impact_ratio>=0.8"))

    lines = told.splitlines()
    assert [line for line in lines if line in HEADINGS[name]] == list(HEADINGS[name])
    assert PROFILES[name].date in lines[2]
    assert PROFILES[name].sources[0].replace("*", r"\*") in lines[2]
    assert "| Black | 60 | 45.0 % (33.1 to 57.5) | 0.750" in told
    assert "selection rate ratio over race at least 0.8: INCONCLUSIVE" in told
    assert "\n\n\n" not in told
    assert " \n" not in told
    assert "Calibration within groups" not in told  # there are no labels, and so no base rates


@DOCUMENTS
def test_what_the_audit_cannot_know_is_left_to_people_and_nothing_is_claimed(
    audit: Command, tmp_path: Path, name: str
) -> None:
    told = audit(count_table(tmp_path / "t.csv", UGESP), *HIRED, *options(profile=name))

    assert told.count("- to be written by people: ") >= 2
    assert "Nothing was judged: no limits were declared." in told
    assert "complian" not in told.lower()


@DOCUMENTS
def test_a_small_group_has_no_figure_in_a_document(audit: Command, tmp_path: Path, name: str) -> None:
    table = count_table(tmp_path / "t.csv", {"a": (40, 100), "b": (37, 77), "c": (2, 3), "d": (21, 33)})

    told = audit(table, *HIRED, *options(profile=name))

    assert "c (not shown)" in told or "| c | not shown | " in told
    assert "66.7" not in told  # 2 of 3
    assert "too small to be shown" in told


def test_labels_give_accuracy_by_group_and_its_absence_is_told(audit: Command, tmp_path: Path) -> None:
    columns = {"y": [0, 1] * 40, "p": [0, 1, 1, 1] * 20, "sex": ["f", "f", "m", "m"] * 20}
    table = write_table(tmp_path / "t.csv", columns)

    labelled = audit(table, *options(label="y", prediction="p", group="sex", profile="eu-ai-act"))
    without = audit(table, *options(prediction="p", group="sex", profile="eu-ai-act"))

    assert "- Accuracy by sex: f 100.0 % (91.2 to 100.0); m 50.0 % (35.2 to 64.8). All rows:\n" in labelled
    assert "Calibration within groups and equal error rates cannot all hold where base rates differ" in labelled
    (gap,) = re.findall(r"^\| accuracy \| f \(\d+ of 40\) over m \(\d+ of 40\) \| .*$", labelled, re.M)
    assert re.search(r"\| 0\.500 \(0\.\d{3} to 0\.\d{3}\) \|$", gap)
    assert "| f | 40 | 50.0 %" in labelled  # the share that is favourable, under 2(d)
    assert "Not measured: the table holds no labels." in without


def test_out_keeps_the_document_beside_text_and_json(audit: Command, tmp_path: Path) -> None:
    table = count_table(tmp_path / "t.csv", UGESP)

    told = audit(table, *HIRED, *options(profile="model-card", out=tmp_path / "kept"))

    assert (tmp_path / "kept/bias.md").read_text(encoding="utf-8") == told
    assert "shares in percent" in (tmp_path / "kept/bias.txt").read_text(encoding="utf-8")
    assert audit.json(table, *HIRED, *options(profile="model-card"))["profile"]["name"] == "model-card"


def test_a_profile_of_tables_leaves_no_document(audit: Command, tmp_path: Path) -> None:
    audit(count_table(tmp_path / "t.csv", UGESP), *HIRED, *options(profile="us-four-fifths", out=tmp_path / "kept"))

    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["audit.html", "bias.json", "bias.txt"]


def test_the_name_of_a_column_is_no_mark(audit: Command, tmp_path: Path) -> None:
    table = count_table(tmp_path / "t.csv", {"*a*": (30, 60), "[b](c)": (20, 60)})

    assert r"| \*a\* | 60 |" in audit(table, *HIRED, *options(profile="model-card"))


def test_the_document_of_an_earlier_command_does_not_stay_beside_other_figures(audit: Command, tmp_path: Path) -> None:
    table, out = count_table(tmp_path / "t.csv", UGESP), tmp_path / "out"
    audit(table, *HIRED, *options(profile="model-card", out=out))
    (out / "notes.md").write_text("mine", encoding="utf-8")

    audit(table, *HIRED, *options(out=out))

    assert sorted(file.name for file in out.iterdir()) == ["audit.html", "bias.json", "bias.txt", "notes.md"]


def test_a_document_that_cannot_be_removed_is_told(audit: Command, tmp_path: Path) -> None:
    (tmp_path / "out/bias.md").mkdir(parents=True)

    refused = audit.refused(count_table(tmp_path / "t.csv", UGESP), *HIRED, *options(out=tmp_path / "out"))

    assert "bias.md is of an earlier audit and cannot be removed" in refused
