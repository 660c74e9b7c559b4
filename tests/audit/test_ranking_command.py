"""``fedcore audit bias --kind ranking``: what it prints, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.audit.bias_table import Command, options, write_table

PLAIN: dict[str, object] = {"kind": "ranking", "score": "s", "list": "q", "group": "sex", "top": 2}


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def lists(path: Path, *, num_lists: int, rows: int = 10, gap: float = 1.0, **columns: list[object]) -> Path:
    """Write lists of as many women as men, who score higher by ``gap``."""
    drawn = np.random.default_rng(0)
    sex = np.tile(["f", "m"], num_lists * rows // 2)
    score = drawn.normal(size=len(sex)) + gap * (sex == "m")
    found: dict[str, list[object]] = {
        "q": np.repeat(np.arange(num_lists), rows).tolist(),
        "s": score.tolist(),
        "sex": sex.tolist(),
        "y": (drawn.random(len(sex)) < 1 / (1 + np.exp(-score))).astype(int).tolist(),
    }
    return write_table(path, {**found, **columns})


def test_json_has_the_shapes_of_classification(audit: Command, tmp_path: Path) -> None:
    told = audit.json(lists(tmp_path / "t.csv", num_lists=30), *options(**PLAIN, label="y"))

    assert (told["kind"], told["lists"], told["top"], told["verdict"]) == ("ranking", 30, 2.0, None)
    assert set(told["groups"]["sex"]) == {"f", "m"}
    for metrics in told["groups"]["sex"].values():
        assert {frozenset(one) for one in metrics.values()} == {frozenset({"value", "low", "high", "n"})}
    gaps = told["gaps"]["sex"]
    shape = frozenset({
        "difference", "low", "high", "ratio", "ratio_low", "ratio_high", "highest", "lowest",
        "highest_count", "lowest_count", "over_all_pairs",
    })  # fmt: skip
    assert {frozenset(one) for one in gaps.values()} == {shape}
    assert set(gaps) == set(told["groups"]["sex"]["f"]) >= {"selection_rate_at_k", "exposure", "pairwise_accuracy"}
    assert (gaps["exposure"]["highest"], gaps["exposure"]["lowest"]) == ("m", "f")


@pytest.mark.parametrize(("gap", "verdict", "code"), [(2.0, "FAIL", 3), (0.0, "PASS", 0)])
def test_a_limit_on_a_ratio_is_judged_by_its_interval(
    audit: Command, tmp_path: Path, gap: float, verdict: str, code: int
) -> None:
    table = lists(tmp_path / "t.csv", num_lists=400, gap=gap)

    told = audit.json(table, *options(**PLAIN, limit=["selection_rate_at_k>=0.8", "exposure>=0.8"]), code=code)

    assert told["verdict"] == verdict
    assert "exposure ratio over sex at least 0.8" in told["findings"][1]["reason"]


def test_too_few_lists_are_inconclusive_and_can_end_with_4(audit: Command, tmp_path: Path) -> None:
    table = lists(tmp_path / "t.csv", num_lists=20, gap=0.0)

    told = audit.json(table, *options(**PLAIN, limit="sex:selection_rate_at_k>=0.9"), "--fail-on-inconclusive", code=4)

    assert told["verdict"] == "INCONCLUSIVE"


def test_without_a_list_all_rows_are_one(audit: Command, tmp_path: Path) -> None:
    table = lists(tmp_path / "t.csv", num_lists=1, rows=60)
    given = {key: value for key, value in PLAIN.items() if key not in {"list", "top"}}

    shown = audit(table, *options(**given))

    assert "60 rows in 1 list, ranked by s, no relevance" in shown
    assert "the first 10 of each" in shown
    assert "the rows of each list as a sample" in shown


def test_a_small_group_is_not_shown_and_its_places_are_not_given_back(audit: Command, tmp_path: Path) -> None:
    race = ["x" if i % 2 else "y" for i in range(297)] + ["z", "z", "z"]
    table = lists(tmp_path / "t.csv", num_lists=30, race=list(race))
    given = options(**{**PLAIN, "group": "race"}, min_cell=10)

    told = audit.json(table, *given)

    assert told["groups"]["race"]["z"]["exposure"] == {"value": None, "low": None, "high": None, "n": None}
    assert len(told["suppressed"]["race"]) == 2
    assert told["suppressed"]["race"][-1] == "z"
    assert audit(table, *given).count("not shown") == 3  # two lines and the note


def test_groups_that_meet_only_through_others_are_named(audit: Command, tmp_path: Path) -> None:
    of_list = [["a", "b"], ["b", "c"]]
    race = [of_list[q % 2][i % 2] for q in range(30) for i in range(10)]
    table = lists(tmp_path / "t.csv", num_lists=30, race=list(race))

    assert "never in one list, and so compared only by way of other groups: a and c" in audit(
        table, *options(**{**PLAIN, "group": "race"})
    )


@pytest.mark.parametrize(
    ("columns", "given", "message"),
    [
        ({}, {**PLAIN, "score": "S"}, "has no column 'S'; did you mean 's'?"),
        ({"s": [""] * 40}, PLAIN, "column 's' of t.csv: 40 cells, the first in row 1, empty"),
        ({"q": [""] * 40}, PLAIN, "column 'q' of t.csv: 40 cells, the first in row 1, empty; every row needs a list"),
        ({"q": [*range(10)] * 3 + [*range(10, 20)]}, PLAIN, "10 of 20 lists have one row only, which ranks nothing"),
        ({}, {**PLAIN, "top": 10}, "the top of 10 places leaves no row out of a list of 10 rows; give --top 9 or less"),
        ({}, {**PLAIN, "top": 2.5}, "--top must be a whole number of places, or a share of the list below 1"),
        ({}, {**PLAIN, "top": 0}, "--top must be a whole number of places"),
        ({}, {**PLAIN, "top": "x"}, "not 'x'"),
        ({"y": [-1] * 40}, {**PLAIN, "label": "y"}, "negative; a relevance is 0 or more"),
        ({"y": ["yes"] * 40}, {**PLAIN, "label": "y"}, "the label of a ranking is a relevance, as 0 and 1"),
        ({"sex": ["f"] * 10 + ["m"] * 30}, PLAIN, "sex: f, m never meets another group in one list"),
        ({}, {**PLAIN, "prediction": "y"}, "--prediction has no meaning in a ranking; leave it out"),
        ({}, {**PLAIN, "threshold": 0.5}, "--threshold has no meaning in a ranking"),
        ({}, {**PLAIN, "list": "s"}, "column 's' is given both as --list and as something else"),
        (
            {},
            {**PLAIN, "kind": "sorting"},
            "no --kind 'sorting'; there are classification, regression, ranking",
        ),
        ({}, {**PLAIN, "kind": "classification"}, "--list is for ranked lists; it needs --kind ranking"),
        ({}, {**PLAIN, "limit": "exposur>=0.8"}, "did you mean 'exposure'?"),
        ({}, {**PLAIN, "limit": "pairwise_accuracy>=0.8"}, "pairwise_accuracy is not measured here"),
        ({}, {**PLAIN, "limit": "representation_at_k<=0.1"}, "a difference has no scale; limit its ratio"),
    ],
)
def test_bad_input_is_refused(
    audit: Command, tmp_path: Path, columns: dict[str, list[object]], given: dict[str, object], message: str
) -> None:
    table = lists(tmp_path / "t.csv", num_lists=4, **columns)

    assert message in audit.refused(table, *options(**given))


def test_more_than_twenty_grades_leave_pairs_out_and_say_so(audit: Command, tmp_path: Path) -> None:
    table = lists(tmp_path / "t.csv", num_lists=20, y=[i % 25 for i in range(200)])

    told = audit.json(table, *options(**PLAIN, label="y"))

    assert "pairwise_accuracy" not in told["gaps"]["sex"]
    assert "exposure_per_relevance" in told["gaps"]["sex"]
    assert "more than 20 different values" in told["notes"][0]


def test_measures_of_one_relevant_row_are_in_no_shared_file(audit: Command, tmp_path: Path) -> None:
    drawn = np.random.default_rng(2)
    columns: dict[str, list[object]] = {
        "g": ["a"] * 150 + ["b"] * 81,
        "s": drawn.random(231).tolist(),
        "y": [1] * 30 + [0] * 120 + [1] + [0] * 80,  # one of b
    }
    given = options(kind="ranking", score="s", group="g", label="y", top=20, out=tmp_path / "out")
    audit(write_table(tmp_path / "t.csv", columns), *given)
    told = json.loads((tmp_path / "out" / "bias.json").read_text(encoding="utf-8"))

    shown = {"selection_rate_at_k", "representation_at_k", "exposure"}
    assert told["partly_suppressed"] == {"g": ["a", "b"]}  # a would give b back
    for of in told["groups"]["g"].values():
        assert {metric for metric, one in of.items() if one["n"] is not None} == shown
    assert told["gaps"]["g"]["intra_group_pairwise_accuracy"]["difference"] is None
    assert any("fewer than 10 rows of a relevance" in note for note in told["notes"])
    text = (tmp_path / "out" / "bias.txt").read_text(encoding="utf-8")
    assert "intra" not in text or "not shown" in text
