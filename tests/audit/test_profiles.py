"""What rules ask for, to every printed digit."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from fedcore.audit.metrics.rates import Rate
from fedcore.audit.table.labels import weighted_median
from fedcore.audit.tables.groups import UNKNOWN
from fedcore.audit.verdict.profiles import PROFILES, categories, four_fifths
from tests.audit.bias_table import Command, count_table, options, write_table

UGESP = {"White": (48, 80), "Black": (27, 60), "Hispanic": (24, 50), "Asian": (51, 100)}
# The example of a bias audit by DCWP, 6 RCNY 5-301(c), "Race/Ethnicity categories" and "Sex categories".
CITY_SEX = {"Male": (667, 1390), "Female": (555, 1181)}


def rates(groups: dict[str, tuple[int, int]]) -> dict[str, Rate]:
    return {group: Rate.of(*counts, confidence=0.95) for group, counts in groups.items()}


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def test_only_the_group_under_four_fifths_is_under_it() -> None:
    found = {line.category: (line.ratio, line.under_four_fifths) for line in four_fifths(rates(UGESP))}

    assert found == {
        "White": (1, False),
        "Black": (Fraction(3, 4), True),
        "Hispanic": (Fraction(4, 5), False),
        "Asian": (Fraction(17, 20), False),
    }


def test_three_men_of_twenty_and_one_woman_of_ten_are_too_few_to_judge() -> None:
    # Questions and Answers (1979), no. 21.
    women = next(line for line in four_fifths(rates({"men": (3, 20), "women": (1, 10)})) if line.category == "women")

    assert (women.ratio, women.under_four_fifths, women.one_person_reverses) == (Fraction(2, 3), True, True)
    assert not next(line for line in four_fifths(rates(UGESP)) if line.category == "Black").one_person_reverses


def test_significance_is_fisher_s_and_the_pooled_z() -> None:
    from scipy.stats import hypergeom

    black = next(line for line in four_fifths(rates(UGESP)) if line.category == "Black")

    chances = hypergeom(140, 75, 60).pmf(np.arange(61))
    assert black.fisher_p == pytest.approx(chances[chances <= chances[27] * (1 + 1e-9)].sum())
    pooled = 75 / 140
    assert black.standard_deviations == pytest.approx((0.6 - 0.45) / (pooled * (1 - pooled) * (1 / 80 + 1 / 60)) ** 0.5)


def test_of_very_many_rows_significance_goes_on_as_it_was() -> None:
    # 0.9 sqrt(n) persons apart: the same number of standard deviations, whatever n is.
    fewer, more = (
        four_fifths(rates({"a": (n // 2, n), "b": (n // 2 + int(0.9 * n**0.5), n)}))[0].fisher_p
        for n in (4 * 10**8, 4 * 10**12)
    )

    assert more == pytest.approx(fewer, rel=1e-3)


def test_groups_of_less_than_two_percent_are_not_held_to_four_fifths() -> None:
    found = [line.category for line in four_fifths(rates({"a": (50, 96), "b": (30, 100), "tiny": (4, 4)}))]

    assert found == ["a", "b", "tiny"]
    assert [line.category for line in four_fifths(rates({"a": (50, 99), "b": (30, 100), "tiny": (3, 3)}))] == ["a", "b"]


def test_the_group_of_the_highest_rate_is_not_compared_with_itself() -> None:
    white = next(line for line in four_fifths(rates(UGESP)) if line.category == "White")

    assert (white.ratio, white.standard_deviations, white.fisher_p) == (1, None, None)


def test_groups_that_four_fifths_are_not_asked_of_are_named(audit: Command, tmp_path: Path) -> None:
    table = count_table(tmp_path / "t.csv", {"a": (500, 990), "b": (300, 1000), "few": (15, 30)})
    given = options(prediction="hired", weight="n", group="race", profile="us-four-fifths")

    shown = audit(table, *given)

    assert "  left out, for less than 2 % of the rows: few" in shown
    (line,) = [line for line in shown.splitlines() if line.endswith("highest rate")]
    assert line.split()[-4:] == ["-", "-", "highest", "rate"]
    assert audit.json(table, *given)["profile"]["left_out_under_two_percent"] == {"race": ["few"]}


def test_a_hidden_group_is_not_named_as_left_out(audit: Command, tmp_path: Path) -> None:
    table = count_table(tmp_path / "t.csv", {"a": (500, 990), "b": (300, 1000), "few": (3, 6), "some": (20, 40)})

    given = options(prediction="hired", weight="n", group="race", profile="us-four-fifths", min_cell=10)
    shown = audit(table, *given)

    assert "left out" not in shown
    assert "race: not shown, because it has fewer than 10 rows (--min-cell) or would reveal such a group" in shown


def test_nobody_selected_is_no_impact() -> None:
    assert four_fifths(rates({"a": (0, 9), "b": (0, 9)})) == []
    assert [line.impact_ratio for line in categories(rates({"a": (0, 9), "b": (0, 9)}))] == [None, None]


def test_a_small_category_counts_in_one_reading_and_not_in_the_other() -> None:
    found = {line.category: line for line in categories(rates({"a": (40, 100), "b": (30, 100), "c": (3, 3)}))}

    assert {g: line.impact_ratio for g, line in found.items()} == {
        "a": Fraction(2, 5), "b": Fraction(3, 10), "c": 1,
    }  # fmt: skip
    assert {g: line.impact_ratio_without_small for g, line in found.items()} == {"a": 1, "b": Fraction(3, 4), "c": None}
    assert [line.category for line in found.values() if line.under_two_percent] == ["c"]


def test_unknown_is_no_category() -> None:
    assert [line.category for line in categories(rates({"a": (1, 2), UNKNOWN: (2, 2)}))] == ["a"]


@pytest.mark.parametrize(
    ("scores", "weights", "median"),
    [([3, 1, 2], [1, 1, 1], 2), ([4, 1, 2, 3], [1, 1, 1, 1], 2.5), ([1, 9], [3, 1], 1), ([1, 9, 5], [2, 2, 0], 5)],
)
def test_the_median_counts_what_a_row_stands_for(scores: list[float], weights: list[int], median: float) -> None:
    assert weighted_median(np.array(scores, dtype=np.float64), np.array(weights)) == median
    assert np.median(np.repeat(scores, weights)) == median


def test_a_table_of_local_law_144_is_printed_with_date_source_and_unknowns(audit: Command, tmp_path: Path) -> None:
    table = count_table(tmp_path / "t.csv", {**CITY_SEX, "": (10, 25), "X": (2, 4)}, group="sex")
    given = options(prediction="hired", weight="n", group="sex", profile="nyc-ll144")

    told = audit.json(table, *given)["profile"]
    shown = audit(table, *given)

    lines = {line["category"]: line for line in told["tables"]["sex"]}
    assert lines["Male"]["impact_ratio"] == float(Fraction(667, 1390) / Fraction(1, 2))
    assert lines["Female"]["impact_ratio_without_small"] == float(Fraction(555, 1181) / Fraction(667, 1390))
    assert round(lines["Female"]["impact_ratio_without_small"], 3) == 0.979
    assert (lines["X"]["under_two_percent"], lines["X"]["impact_ratio_without_small"]) == (True, None)
    assert told["unknown"] == {"sex": 25}
    assert (told["date"], told["median"]) == ("2026-11-22", None)
    assert "unknown sex: 25" in shown
    assert "6 RCNY 5-300" in shown


def test_files_for_local_law_144_show_small_categories_in_its_table_alone(audit: Command, tmp_path: Path) -> None:
    rows = (
        [("f", 1, 1)] * 30 + [("f", 0, 0)] * 30 + [("m", 1, 1)] * 40 + [("m", 0, 1)] * 20 + [("x", 1, 1), ("x", 0, 0)]
    )
    columns = dict(zip(("sex", "y", "hired"), map(list, zip(*rows, strict=True)), strict=True))
    table, out = write_table(tmp_path / "t.csv", columns), tmp_path / "out"
    audit(table, *options(label="y", prediction="hired", group="sex", profile="nyc-ll144", out=out))
    told = json.loads((out / "bias.json").read_text(encoding="utf-8"))
    lines = {line["category"]: (line["selected"], line["n"]) for line in told["profile"]["tables"]["sex"]}
    assert lines["x"] == (1, 2)
    assert told["min_cell"] == 10
    assert "x" in told["suppressed"]["sex"]
    assert {metric["n"] for metric in told["groups"]["sex"]["x"].values()} == {None}


def test_two_attributes_are_crossed_for_local_law_144(audit: Command, tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", {"sex": ["f", "m"] * 20, "race": ["x"] * 40, "hired": [0, 1, 1, 0] * 10})

    told = audit.json(table, *options(prediction="hired", group=["sex", "race"], profile="nyc-ll144"))

    assert list(told["profile"]["tables"]) == ["sex", "race", "sex*race"]


def test_scores_are_compared_by_the_share_above_the_median(audit: Command, tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", {"s": [10, 40, 40, 90], "sex": ["f", "f", "m", "m"], "n": [30, 10, 20, 20]})
    given = options(score="s", group="sex", weight="n", score_range="0,100", profile="nyc-ll144")

    told = audit.json(table, *given)

    assert told["profile"]["median"] == 40
    assert [line["selected"] for line in told["profile"]["tables"]["sex"]] == [0, 20]
    assert told["groups"]["sex"]["m"]["selection_rate"]["value"] == 0.5
    assert "leave --threshold out" in audit.refused(table, *given, *options(threshold=50))


def test_the_four_fifths_profile_says_where_one_person_decides(audit: Command, tmp_path: Path) -> None:
    table = count_table(tmp_path / "t.csv", {"men": (3, 20), "women": (1, 10)}, group="sex")

    shown = audit(table, *options(prediction="hired", weight="n", group="sex", profile="us-four-fifths"))

    assert "under 4/5, but one person reverses it" in shown


def test_no_profile_says_compliant_and_each_has_date_and_source(audit: Command, tmp_path: Path) -> None:
    for name, profile in PROFILES.items():
        assert profile.date
        assert profile.sources
        shown = audit(
            count_table(tmp_path / "t.csv", UGESP),
            *options(prediction="hired", weight="n", group="race", profile=name),
        )
        assert "complian" not in f"{shown}{profile}".lower()


def test_an_unknown_profile_is_refused(audit: Command, tmp_path: Path) -> None:
    table = count_table(tmp_path / "t.csv", UGESP)

    assert "there are nyc-ll144, us-four-fifths" in audit.refused(
        table, *options(prediction="hired", weight="n", group="race", profile="gdpr")
    )
