"""Which label counts as favourable: said, known by its word, or a guess that is called one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedcore.audit.metrics.estimators.auc import Areas
from tests.audit.bias_table import Command, options, write_table

ONE_VALUE = options(prediction="d", group="sex")


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def one_value(path: Path, value: object = "denied") -> Path:
    return write_table(path, {"d": [value] * 80, "sex": ["f", "m"] * 40})


def two_values(path: Path, first: object, second: object) -> Path:
    return write_table(path, {"d": [first, second, second, second] * 20, "sex": ["f", "f", "m", "m"] * 20})


def test_decisions_that_are_all_the_same_are_refused_until_it_is_said_what_they_mean(
    audit: Command, tmp_path: Path
) -> None:
    refused = audit.refused(one_value(tmp_path / "t.csv"), *ONE_VALUE)

    assert "has one value only (denied); set --positive denied if that is the favourable one" in refused


@pytest.mark.parametrize(("positive", "rate", "note"), [("denied", 1.0, "every row"), ("approved", 0.0, "nobody is")])
def test_of_one_value_all_are_selected_or_nobody_is(
    audit: Command, tmp_path: Path, positive: str, rate: float, note: str
) -> None:
    told = audit.json(one_value(tmp_path / "t.csv"), *ONE_VALUE, *options(positive=positive))

    assert {of["selection_rate"]["value"] for of in told["groups"]["sex"].values()} == {rate}
    assert any(one.startswith(note) for one in told["notes"])


@pytest.mark.parametrize(("value", "positive"), [("denied", "Denied"), (1, "True"), ("no", "0")])
def test_another_way_to_write_the_only_value_is_not_taken_for_another_one(
    audit: Command, tmp_path: Path, value: object, positive: str
) -> None:
    refused = audit.refused(one_value(tmp_path / "t.csv", value), *ONE_VALUE, *options(positive=positive))

    assert f"--positive '{positive}' is not a value of column 'd' of t.csv; it has {value}" in refused


def test_decisions_that_never_are_the_favourable_label_select_nobody(audit: Command, tmp_path: Path) -> None:
    columns = {"y": [0, 1] * 40, "p": [0] * 80, "sex": ["f", "f", "m", "m"] * 20}

    told = audit.json(write_table(tmp_path / "t.csv", columns), *options(label="y", prediction="p", group="sex"))

    assert told["groups"]["sex"]["f"]["selection_rate"]["value"] == 0.0


def test_a_guess_is_called_one_in_the_head_and_beside_the_verdict(audit: Command, tmp_path: Path) -> None:
    table = two_values(tmp_path / "t.csv", "approved", "denied")

    shown = audit(table, *ONE_VALUE, *options(limit="impact_ratio>=0.8"))

    verdict, limit, guess, head, *_ = [line for line in shown.splitlines() if line]
    assert "favourable denied (a guess)" in head
    assert guess.startswith("favourable 'denied' is a guess: it is the last in order; set it with --positive")
    assert (limit[:6], verdict[:8]) == ("limit:", "verdict:")
    assert audit.json(table, *ONE_VALUE)["favourable_is_a_guess"] is True
    document = audit(table, *ONE_VALUE, *options(profile="model-card"))
    assert "favourable is denied, a guess." in document
    assert "favourable 'denied' is a guess" in document


@pytest.mark.parametrize(
    ("first", "second", "favourable"),
    [(0, 1, "1"), ("true", "false", "true"), ("no", "Yes", "Yes"), ("False", "True", "True")],
)
def test_a_label_that_says_itself_what_it_is_is_no_guess(
    audit: Command, tmp_path: Path, first: object, second: object, favourable: str
) -> None:
    table = two_values(tmp_path / "t.csv", first, second)

    told = audit.json(table, *ONE_VALUE)

    assert (told["favourable"], told["favourable_is_a_guess"]) == (favourable, False)
    assert "guess" not in audit(table, *ONE_VALUE)


def test_what_is_said_is_no_guess(audit: Command, tmp_path: Path) -> None:
    table = two_values(tmp_path / "t.csv", "approved", "denied")

    assert "guess" not in audit(table, *ONE_VALUE, *options(positive="approved"))


def test_scores_that_are_higher_for_the_other_label_are_pointed_out(audit: Command, tmp_path: Path) -> None:
    columns = {"y": ["a", "b"] * 40, "s": [0.9, 0.2] * 40, "sex": ["f", "f", "m", "m"] * 20}
    given = (write_table(tmp_path / "t.csv", columns), *options(label="y", score="s", group="sex"))

    assert "over all rows scores are higher for the other label than for b (AUC under 0.5)" in audit(*given)
    assert "AUC under 0.5" not in audit(*given, *options(positive="a"))


def test_the_area_over_all_groups_is_scikit_learn_s() -> None:
    from sklearn.metrics import roc_auc_score

    counts = np.random.default_rng(3).integers(0, 9, (3, 2, 7))

    score, label = np.tile(np.arange(7), 2), np.repeat([0, 1], 7)
    expected = roc_auc_score(label, score, sample_weight=counts.sum(axis=0).ravel())
    assert Areas.of(counts, exact=True).pooled == pytest.approx(expected, abs=1e-12)
    assert Areas.of(counts[:, :1].repeat(2, axis=1) * [[1], [0]], exact=True).pooled is None
