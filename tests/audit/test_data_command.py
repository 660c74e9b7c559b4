"""What a table holds of each group, before anything is learned from it."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedcore.audit.statistics.intervals import wilson_interval
from fedcore.cli import build_app, main

ADULT = Path(__file__).parents[3] / "shared" / "data" / "adult.csv"
TABLE = """sex,site,income,age
f,north,yes,30
f,north,no,
f,south,no,
f,south,no,41
m,north,yes,50
m,north,yes,51
m,south,no,52
m,south,yes,53
,south,yes,54
"""


def run(*words):
    return CliRunner().invoke(build_app(), ["audit", "data", *map(str, words)])


def told(path, *words):
    found = run(path, "--label", "income", "--group", "sex", "--min-cell", 1, *words, "--json")
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


@pytest.fixture
def table(tmp_path):
    (tmp_path / "t.csv").write_text(TABLE)
    return tmp_path / "t.csv"


def test_sizes_labels_and_missing_cells_are_those_of_the_table(table):
    found = told(table)
    women = found["groups"]["sex"]["f"]
    assert (women["share"]["value"], women["share"]["n"]) == (4 / 9, 9)
    assert women["base_rate"]["value"] == 0.25
    assert women["missing"] == {"age": {"value": 0.5, "n": 4, **ends(2, 4)}}
    assert found["groups"]["sex"]["unknown"]["share"]["value"] == 1 / 9
    gap = found["gaps"]["sex"]["base_rate"]
    assert (gap["difference"], gap["highest"], gap["lowest"]) == (0.5, "m", "f")
    assert found["gaps"]["sex"]["age"]["difference"] == 0.5


def ends(successes, n):
    interval = wilson_interval(successes, n, confidence=0.95)
    return {"low": interval.low, "high": interval.high}


def test_a_site_crosses_every_group(table):
    found = told(table, "--site", "site")["groups"]["sex*site"]
    assert found["f & north"]["base_rate"]["value"] == 0.5
    assert found["f & south"]["missing"]["age"]["value"] == 0.5


@pytest.mark.parametrize("crossing", ["sex*site", "site*sex"])
def test_a_group_that_is_crossed_with_the_site_already_is_crossed_once(table, crossing):
    assert {*told(table, "--group", crossing, "--site", "site")["groups"]} == {"sex", crossing}
    assert {*told(table, "--group", "site", "--site", "site")["groups"]} == {"sex", "site", "sex*site"}


@pytest.mark.parametrize("positive", [(), ("--positive", "no"), ("--positive", "yes")])
def test_a_label_of_one_value_is_refused_with_exit_code_2(tmp_path, monkeypatch, capsys, positive):
    (tmp_path / "t.csv").write_text("sex,income\nf,no\nm,no\n")
    words = ["fedcore", "audit", "data", str(tmp_path / "t.csv"), "--label", "income", "--group", "sex", *positive]
    monkeypatch.setattr(sys, "argv", words)

    with pytest.raises(SystemExit) as left:
        main()

    assert left.value.code == 2
    assert "column 'income' of t.csv has one value only (no); rates need two labels" in capsys.readouterr().err


def test_a_label_of_many_values_is_not_sent_to_an_option_that_is_not_there(tmp_path):
    rows = "\n".join(f"f,{value}" for value in range(60))
    (tmp_path / "t.csv").write_text(f"sex,income\n{rows}\n")

    refused = run(tmp_path / "t.csv", "--label", "income", "--group", "sex")

    assert "has 60 different values, too many for classes; expected labels such as 0 and 1" in str(refused.exception)
    assert "--kind" not in str(refused.exception)


def test_a_label_that_is_a_guess_is_called_one(tmp_path):
    (tmp_path / "t.csv").write_text("sex,income\nf,high\nm,low\n")

    assert (
        "favourable label low (a guess: the last in order"
        in run(tmp_path / "t.csv", "--label", "income", "--group", "sex").stdout
    )


def test_a_line_may_stand_for_several_rows(tmp_path):
    (tmp_path / "t.csv").write_text("sex,income,n\nf,yes,20\nf,no,80\nm,yes,50\nm,no,50\n")
    found = told(tmp_path / "t.csv", "--weight", "n")
    assert found["rows"] == 200
    assert found["groups"]["sex"]["f"]["base_rate"]["value"] == 0.2


def test_small_groups_are_not_shown(table):
    found = json.loads(run(table, "--label", "income", "--group", "sex", "--min-cell", 2, "--json").stdout)
    assert "unknown" in found["suppressed"]["sex"]
    assert "unknown" not in found["groups"]["sex"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--label", "incom", "--group", "sex"), "did you mean 'income'"),
        (("--label", "income", "--group", "income"), "given both"),
        (("--label", "income", "--group", "sex", "--positive", "maybe"), "not a value of column"),
    ],
)
def test_what_cannot_be_read_is_refused(table, words, message):
    refused = run(table, *words)
    assert refused.exit_code != 0
    assert message in str(refused.exception)


@pytest.mark.skipif(not ADULT.exists(), reason="the Adult data set is not beside the repository")
def test_the_rates_of_the_labels_of_adult_are_those_of_its_rows():
    found = json.loads(run(ADULT, "--label", "income-per-year", "--group", "sex", "--json").stdout)
    for group, (rich, rows) in {"Female": (1179, 10771), "Male": (6662, 21790)}.items():
        rate = found["groups"]["sex"][group]["base_rate"]
        assert (rate["value"], rate["n"]) == (rich / rows, rows)
    words = run(ADULT, "--label", "income-per-year", "--group", "sex").stdout
    assert "base rate: Male 30.6 % (6,662 of 21,790) over Female 10.9 % (1,179 of 10,771), 19.6 points" in words
    assert "occupation missing: Female 7.8 % (841 of 10,771) over Male 4.6 % (1,002 of 21,790), 3.2 points (" in words
