from __future__ import annotations

from pathlib import Path

import pytest

from tests.audit.bias_table import Command, count_table, options, write_table

LABELLED = {"label": "y", "prediction": "p", "group": "sex"}
COLUMNS: dict[str, list[object]] = {
    "y": [0, 1] * 60,
    "p": [0, 1, 1] * 40,
    "sex": ["f", "f", "m", "m"] * 30,
}


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def test_the_verdict_and_what_decides_it_come_first_and_then_one_table(audit: Command, tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", COLUMNS)
    given = options(**LABELLED, limit=["accuracy<=0.9", "selection_rate<=0.001"], out=tmp_path / "out")
    lines = audit(table, *given).splitlines()

    assert lines[0] == "verdict: INCONCLUSIVE"
    assert [line.split("; ")[0].rpartition(" ")[2] for line in lines[1:3]] == ["INCONCLUSIVE", "PASS"]
    assert sum(line.startswith("sex ") for line in lines) == 1
    assert lines[-1].startswith("more: --all")
    everything = audit(table, *given, "--all")
    assert sum(line.startswith("sex ") for line in everything.splitlines()) == 3
    assert (tmp_path / "out" / "bias.txt").read_text(encoding="utf-8") == everything


@pytest.mark.parametrize("profile", ["nyc-ll144", "us-four-fifths", "eu-ai-act", "nist-ai-rmf", "model-card"])
def test_a_profile_says_nothing_about_what_it_is_not(audit: Command, tmp_path: Path, profile: str) -> None:
    shown = audit(write_table(tmp_path / "t.csv", COLUMNS), *options(**LABELLED, profile=profile))

    for words in ("legal advice", "supports evidence", "support evidence", "is not that audit", "rule of thumb"):
        assert words not in shown


def test_groups_that_differ_by_case_or_spaces_get_a_hint(audit: Command, tmp_path: Path) -> None:
    selected = {"Male": (3, 9), "male": (2, 9), "fe male": (2, 9), "Female": (2, 9), "other": (2, 9)}
    given = options(prediction="hired", weight="n", group="race")
    notes = audit.json(count_table(tmp_path / "t.csv", selected), *given)["notes"]
    (hint,) = [note for note in notes if "case or spaces" in note]

    assert "'Female'/'fe male', 'Male'/'male'" in hint
    assert "other" not in hint


@pytest.mark.parametrize("kind", [{}, {"kind": "regression"}])
def test_rows_without_a_label_are_refused_or_dropped_and_counted(
    audit: Command, tmp_path: Path, kind: dict[str, object]
) -> None:
    y, p = [*COLUMNS["y"]], [*COLUMNS["p"]]
    y[0], y[5], p[7] = "", "", ""
    table = write_table(tmp_path / "t.csv", {**COLUMNS, "y": y, "p": p})

    assert "2 cells, the first in row 1, empty" in (refused := audit.refused(table, *options(**LABELLED, **kind)))
    assert "--missing drop" in refused
    told = audit.json(table, *options(**LABELLED, **kind, missing="drop"))
    assert told["missing"] == {"policy": "drop", "dropped": {"y": 2, "p": 1}}
    assert told["table"]["rows"] == 117
    assert "left out (--missing drop): 3 rows, 2 without y, 1 without p" in told["notes"]


@pytest.mark.parametrize(
    ("encoding", "bytes_of"), [("utf-16", "utf-16"), ("utf-16", "utf-16-le"), ("latin-1", "latin-1")]
)
def test_a_table_in_another_encoding_names_the_option_and_is_read_with_it(
    audit: Command, tmp_path: Path, encoding: str, bytes_of: str
) -> None:
    table = tmp_path / "t.csv"
    table.write_bytes("g,p\né,1\né,0\nü,1\nü,0\n".encode(bytes_of))
    given = options(prediction="p", group="g")

    assert "--encoding" in audit.refused(table, *given)
    assert set(audit.json(table, *given, *options(encoding=encoding))["groups"]["g"]) == {"é", "ü"}


def test_an_option_that_cannot_be_meant_is_refused_with_those_that_can(audit: Command, tmp_path: Path) -> None:
    given = options(**LABELLED, missing="guess", encoding="klingon")
    error = audit.refused(write_table(tmp_path / "t.csv", COLUMNS), *given)

    assert "--missing must be refuse or drop, not 'guess'" in error
    assert "--encoding 'klingon' is not known; give one such as utf-8, utf-16, latin-1 or cp1252" in error
