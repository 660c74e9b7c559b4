from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedcore.audit.metrics.classes import with_classes
from fedcore.audit.tables.groups import UNKNOWN, GroupTable
from fedcore.audit.verdict.fairness import audit_table, audit_tables
from fedcore.audit.verdict.report import BiasReport
from fedcore.audit.verdict.settings import AuditSettings
from fedcore.audit.verdict.suppression import thin_groups
from tests.audit.bias_table import Command, options, write_table
from tests.audit.builders import shown_json, table_of

# Rows by label (no, yes) and decision (no, yes). Of c one person is of the label yes.
COUNTS = {
    "a": [[300, 60], [40, 100]],
    "b": [[200, 50], [30, 20]],
    "c": [[150, 49], [0, 1]],
    "d": [[400, 90], [60, 150]],
    UNKNOWN: [[0, 0], [0, 0]],
}
LABELLED = {"label": "y", "prediction": "p", "group": "g"}

# For each rate the cells (label, decision) that are counted, and those that they are counted among.
ALL, YES, NO = {(0, 0), (0, 1), (1, 0), (1, 1)}, {(1, 0), (1, 1)}, {(0, 0), (0, 1)}
CHOSEN, LEFT = {(0, 1), (1, 1)}, {(0, 0), (1, 0)}
PARTS = {
    "accuracy": ({(0, 0), (1, 1)}, ALL),
    "selection_rate": (CHOSEN, ALL),
    "base_rate": (YES, ALL),
    "true_positive_rate": ({(1, 1)}, YES),
    "false_negative_rate": ({(1, 0)}, YES),
    "false_positive_rate": ({(0, 1)}, NO),
    "true_negative_rate": ({(0, 0)}, NO),
    "positive_predictive_value": ({(1, 1)}, CHOSEN),
    "negative_predictive_value": ({(0, 0)}, LEFT),
}


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def table_of_counts(path: Path) -> Path:
    columns: dict[str, list[object]] = {"g": [], "y": [], "p": [], "n": []}
    for group, counts in COUNTS.items():
        for y, p in ALL:
            for name, value in zip(columns, (group.replace(UNKNOWN, ""), y, p, counts[y][p]), strict=True):
                columns[name].append(value)
    return write_table(path, columns)


def run_report() -> dict[str, Any]:
    table = GroupTable(
        attribute="g", groups=tuple(COUNTS), labels=("no", "yes"), num_bins=2, scored=False,
        counts=np.array([*COUNTS.values()]),
    )  # fmt: skip
    settings = AuditSettings()
    return BiasReport(plan_sha256="", round=1, settings=settings, audits=audit_tables([table], settings)).to_json()


def test_a_rate_of_one_person_is_hidden_by_its_own_denominator_in_every_file(audit: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    audit(table_of_counts(tmp_path / "t.csv"), *options(**LABELLED, weight="n", profile="eu-ai-act", out=out))
    files = {name: (out / name).read_text(encoding="utf-8") for name in ("bias.json", "bias.txt", "bias.md")}

    for content in (json.loads(files["bias.json"]), run_report()):
        of_c = content["groups"]["g"]["c"]
        assert {m for m, one in of_c.items() if one["n"] is not None} == {"accuracy", "selection_rate", "impact_ratio"}
        assert "c" in content["partly_suppressed"]["g"]
        assert content["suppressed"]["g"] == []
    assert not re.search(r"^\| c \|.*100\.0 %", files["bias.md"], re.M)
    lines = [line for line in files["bias.txt"].splitlines() if line.startswith("c ")]
    assert any("not shown" in line for line in lines)
    assert not any("100.0" in line for line in lines)


def equations(content: dict[str, Any], cells: list[tuple[str, int, int]]) -> np.ndarray:
    """The counts that a reader can form: numerator and denominator of each rate shown, of groups and of all rows."""
    found = []
    overall = content["overall"].get("g", content["overall"])
    for group, of in [*content["groups"]["g"].items(), (None, overall)]:
        for metric, parts in PARTS.items():
            if of[metric]["n"] is not None:
                found += [[float(g == (group or g) and (y, p) in part) for g, y, p in cells] for part in parts]
    return np.array(found)


def test_no_hidden_rate_follows_from_what_is_shown(audit: Command, tmp_path: Path) -> None:
    out, cells = tmp_path / "out", [(group, y, p) for group in COUNTS for y, p in sorted(ALL) if group != UNKNOWN]
    audit(table_of_counts(tmp_path / "t.csv"), *options(**LABELLED, weight="n", out=out))
    target = np.array([float(cell == ("c", 1, 1)) for cell in cells])  # the one person, selected

    for content in (json.loads((out / "bias.json").read_text(encoding="utf-8")), run_report()):
        known = equations(content, cells)
        weights = np.linalg.lstsq(known.T, target, rcond=None)[0]
        assert np.abs(known.T @ weights - target).max() > 1e-6
        assert len(content["partly_suppressed"]["g"]) == 2  # c, and one that it hides behind in the totals


def test_accuracy_and_selection_rate_of_a_thin_group_do_not_pin_its_labels_down() -> None:
    # Of x nobody is selected, so that its 3 wrong predictions would be its favourable labels; z hides it in the totals.
    table = table_of({"x": (497, 0, 3, 0), "y": (370, 30, 40, 60), "z": (480, 11, 6, 3)})
    content = shown_json(audit_table(table, AuditSettings()))

    told = {g: {m for m in PARTS if of[m]["n"] is not None} for g, of in content["groups"].items()}
    assert told == {"x": {"selection_rate"}, "y": set(PARTS), "z": {"selection_rate"}, UNKNOWN: set(PARTS)}
    assert content["gaps"]["accuracy"]["highest"] is None
    assert content["overall"]["accuracy"]["n"] == 1500


@pytest.mark.parametrize(
    "counts", [(470, 25, 3, 2), (470, 8, 3, 2), (470, 9, 4, 0), (3, 480, 1, 10), (3, 480, 4, 10), (200, 280, 3, 2)]
)
def test_accuracy_of_a_thin_group_is_shown_where_it_leaves_enough_open(counts: tuple[int, int, int, int]) -> None:
    audit = audit_table(table_of({"x": counts, "y": (370, 30, 40, 60), "z": (350, 60, 30, 60)}), AuditSettings())
    tn, fp, _, tp = counts
    rows, right, selected = sum(counts), tn + tp, fp + tp
    both = range(max(0, selected + right - rows), min(selected, right) + 1)  # how many may be selected rightly

    assert "x" in audit.thin
    assert audit.hides("accuracy", "x") == (len(both) <= 10)


def test_of_several_labels_selection_rates_are_hidden_instead_where_all_rows_but_few_are_predicted_rightly() -> None:
    right = np.array([np.diag([40, 8, 52]), np.diag([60, 60, 60]), np.diag([60, 60, 60]), np.zeros((3, 3))], dtype=int)
    wrong = np.zeros_like(right)
    wrong[:3, 2, 0] = 12

    def shown(counts: np.ndarray) -> tuple[bool, bool]:
        table = GroupTable(
            attribute="g", groups=("x", "y", "z", UNKNOWN), labels=("a", "b", "c"), num_bins=3, scored=False,
            counts=counts,
        )  # fmt: skip
        audit = with_classes(audit_table(table, AuditSettings()), table)
        assert "x" in audit.thin
        return not audit.hides("accuracy", "x"), not audit.classes["b"].hides("selection_rate", "x")

    assert shown(right) == (True, False)  # each class has as many rows as are predicted so
    assert shown(right + wrong) == (True, True)


def test_a_calibration_bin_of_one_person_follows_from_no_two_curves(audit: Command, tmp_path: Path) -> None:
    drawn = np.random.default_rng(1)
    columns: dict[str, list[object]] = {"sex": [], "race": [], "y": [], "p": []}
    for sex, race, low in ((s, r, b / 10) for s in "fm" for r in "ab" for b in range(10)):
        scores = [0.0731] if (sex, race, low) == ("f", "a", 0.0) else low + 0.1 * drawn.random(40)
        for name, values in zip(columns, (sex, race, drawn.random(len(scores)) < scores, scores), strict=True):
            columns[name] += [values] * len(scores) if isinstance(values, str) else np.array(values).tolist()
    columns["y"] = [int(bool(y)) for y in columns["y"]]
    given = ["--group", "race", "--group", "sex*race", *options(label="y", score="p", group="sex")]
    on_screen = audit.json(write_table(tmp_path / "t.csv", columns), *given)["calibration"]
    audit(tmp_path / "t.csv", *given, *options(out=tmp_path / "out"))
    shared = json.loads((tmp_path / "out" / "bias.json").read_text(encoding="utf-8"))["calibration"]

    assert on_screen["sex*race"]["f & a"][0]["n"] == 1
    assert shared["sex*race"] == {}
    assert {group: len(curve) for group, curve in shared["sex"].items()} == {"f": 10, "m": 10}
    assert {group: len(curve) for group, curve in shared["race"].items()} == {"a": 10, "b": 10}


def test_two_thin_groups_hide_one_another_only_if_together_no_denominator_is_small() -> None:
    def thin(**groups: tuple[int, ...]) -> set[str]:
        return set(thin_groups({"g": groups}, min_cell=10)["g"])

    assert thin(a=(500, 300, 200), b=(400, 6, 394), c=(300, 7, 293)) == {"b", "c"}
    assert thin(a=(500, 300, 200), b=(400, 6, 394), c=(300, 3, 297)) == {"a", "b", "c"}
    assert thin(a=(500, 300, 200), b=(400, 0, 400)) == set()


def test_on_ones_own_screen_nothing_is_hidden_unless_asked(audit: Command, tmp_path: Path) -> None:
    table, given = table_of_counts(tmp_path / "t.csv"), options(**LABELLED, weight="n")

    shown = audit.json(table, *given)
    assert shown["groups"]["g"]["c"]["true_positive_rate"]["n"] == 1
    assert (shown["suppressed"], shown["partly_suppressed"]) == ({"g": []}, {"g": []})
    hidden = audit.json(table, *given, *options(min_cell=10))
    assert hidden["groups"]["g"]["c"]["true_positive_rate"]["n"] is None
    audit(table, *given, *options(out=tmp_path / "out", min_cell=1))
    asked = json.loads((tmp_path / "out" / "bias.json").read_text(encoding="utf-8"))
    assert asked["groups"]["g"]["c"]["true_positive_rate"]["n"] == 1


def hired(path: Path) -> Path:
    columns = {"race": ["a", "a", "b", "b", "c"], "hired": ["yes", "no"] * 2 + ["no"], "n": [500, 500, 480, 520, 3]}
    return write_table(path, columns)


def test_three_rows_decide_no_limit_of_a_rule_that_leaves_out_two_percent(audit: Command, tmp_path: Path) -> None:
    given = options(prediction="hired", weight="n", group="race", limit="impact_ratio>=0.8")
    table = hired(tmp_path / "t.csv")

    assert audit.json(table, *given)["verdict"] == "INCONCLUSIVE"
    ruled = audit.json(table, *given, *options(profile="us-four-fifths"))
    assert (ruled["verdict"], ruled["not_judged"]) == ("PASS", {"race": ["c"]})
    assert ruled["groups"]["race"]["c"]["selection_rate"]["n"] == 3  # shown all the same
    assert [line["category"] for line in ruled["profile"]["tables"]["race"]] == ["a", "b"]
    every = audit.json(table, *given, *options(profile="us-four-fifths", min_share=0))
    assert every["verdict"] == "INCONCLUSIVE"


@pytest.mark.parametrize("option", [{"min_share": 0.02}, {"min_rows": 4}])
def test_groups_that_are_not_judged_are_named_and_still_shown(
    audit: Command, tmp_path: Path, option: dict[str, object]
) -> None:
    table, given = hired(tmp_path / "t.csv"), options(prediction="hired", weight="n", group="race")
    limited = [*given, *options(limit="selection_rate<=0.2")]
    told = audit.json(table, *limited, *options(**option))

    assert (told["verdict"], told["not_judged"]) == ("PASS", {"race": ["c"]})
    assert told["gaps"]["race"]["selection_rate"]["over_all_pairs"]["difference"] == pytest.approx(0.02)
    assert any("shown and not judged" in note and note.endswith("c") for note in told["notes"])
    assert audit.json(table, *limited)["verdict"] == "INCONCLUSIVE"


def test_one_group_that_is_judged_has_no_gap_and_no_word_of_a_ratio(audit: Command, tmp_path: Path) -> None:
    given = options(prediction="hired", weight="n", group="race", limit="impact_ratio>=0.8", min_rows=1000)
    columns = {"race": ["a", "a", "b"], "hired": ["yes", "no", "yes"], "n": [600, 600, 900]}
    (finding,) = audit.json(write_table(tmp_path / "t.csv", columns), *given)["findings"]

    assert finding["verdict"] == "INCONCLUSIVE"
    assert finding["reason"].endswith("no gap, because fewer than two groups have a rate")
