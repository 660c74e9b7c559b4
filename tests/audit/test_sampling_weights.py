from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedcore.audit.metrics.confusion import denominators
from fedcore.audit.metrics.group_gaps import gap_between
from fedcore.audit.metrics.rates import group_rates
from fedcore.audit.statistics.intervals import wilson_interval
from fedcore.audit.tables.groups import GroupTable, Sampling
from fedcore.errors import DataError
from tests.audit.bias_table import Command, options, write_table

GIVEN = {"label": "y", "prediction": "p", "group": "g", "weight": "w"}


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def survey(path: Path, seed: int = 0, rows: int = 300) -> tuple[Path, dict[str, Any]]:
    drawn = np.random.default_rng(seed)
    columns = {
        "y": drawn.integers(0, 2, rows),
        "p": drawn.integers(0, 2, rows),
        "g": np.array(["a", "b", "c"])[drawn.integers(0, 3, rows)],
        "w": drawn.gamma(2, 0.7, rows).round(3),
    }
    return write_table(path, {name: values.tolist() for name, values in columns.items()}), columns


@pytest.mark.parametrize("seed", range(2))
def test_fractional_weights_give_fairlearn_s_rates_at_kish_s_effective_rows(
    audit: Command, tmp_path: Path, seed: int
) -> None:
    from fairlearn import metrics as fairlearn

    table, rows = survey(tmp_path / "t.csv", seed)
    told = audit.json(table, *options(**GIVEN))["groups"]["g"]

    for group in "abc":
        own = rows["g"] == group
        weights, chosen = rows["w"][own], rows["p"][own]
        share = float((weights * chosen).sum() / weights.sum())
        effective = float(weights.sum() ** 2 / (weights**2).sum())
        ends = wilson_interval(share * effective, effective, confidence=0.95)
        one = told[group]["selection_rate"]
        assert (one["value"], one["low"], one["high"]) == pytest.approx((share, ends.low, ends.high), abs=1e-12)
        assert one["n"] == own.sum()
        found = fairlearn.true_positive_rate(rows["y"][own], chosen, sample_weight=weights)
        assert told[group]["true_positive_rate"]["value"] == pytest.approx(found, abs=1e-12)


def test_the_interval_of_a_weighted_gap_holds_the_truth() -> None:
    # 400 samples. Were the coverage 95 %, 365 or fewer would have a probability of 0.001: the false-alarm rate.
    drawn, held = np.random.default_rng(4), 0
    for _ in range(400):
        group, weights = drawn.integers(0, 2, 400), drawn.gamma(2, 1, 400)
        chosen = (drawn.random(400) < np.where(group == 0, 0.3, 0.45)).astype(np.int64)
        table = GroupTable.collect(
            attribute="g", groups=("a", "b", "unknown"), labels=("0", "1"), group_codes=group, label_codes=chosen,
            predictions=chosen,
        )  # fmt: skip
        sums = [np.zeros(table.counts.shape), np.zeros(table.counts.shape)]
        for power in (1, 2):
            np.add.at(sums[power - 1], (group, chosen, chosen), weights**power)
        weighted = group_rates(
            GroupTable(
                attribute="g", groups=table.groups, labels=table.labels, num_bins=2, scored=False,
                counts=table.counts, sampling=Sampling(weights=sums[0], squares=sums[1]),
            )
        )  # fmt: skip
        gap = gap_between("g", "selection_rate", weighted["selection_rate"], confidence=0.95)
        held += (gap.difference_low or 0) <= 0.15 <= (gap.difference_high or 0)

    assert held > 365, held


def test_how_many_rows_a_pass_needs_is_not_said_of_weighted_ones(audit: Command, tmp_path: Path) -> None:
    table, _ = survey(tmp_path / "t.csv")
    of_people = {name: value for name, value in GIVEN.items() if name != "weight"}
    for given, said in ((GIVEN, False), (of_people, True)):
        told = audit(table, *options(**given), "--limit", "selection_rate<=0.16")
        assert "INCONCLUSIVE" in told
        assert ("a PASS needs about" in told) is said


def test_what_counts_people_is_refused_with_fractional_weights(audit: Command, tmp_path: Path) -> None:
    table, _ = survey(tmp_path / "t.csv")

    error = audit.refused(table, *options(**GIVEN, profile="us-four-fifths"))
    assert "holds fractional weights, and --profile us-four-fifths counts people: give whole weights" in error
    assert any("weights are fractional" in note for note in audit.json(table, *options(**GIVEN))["notes"])


def test_a_rate_that_rests_on_one_heavy_line_of_many_is_hidden_in_files_to_share(
    audit: Command, tmp_path: Path
) -> None:
    # Of b one of 12 lines weighs all but all; of c 30 do, but of those with the favourable label one does.
    columns: dict[str, list[object]] = {
        "g": ["a"] * 200 + ["b"] * 12 + ["c"] * 60 + ["d"] * 200,
        "y": ["no", "yes"] * 100 + ["no", "yes"] * 6 + ["no"] * 30 + ["yes"] * 30 + ["no", "yes"] * 100,
        "p": ["no", "no", "yes", "yes"] * 118,
        "w": [1.5] * 200 + [0.001] * 11 + [50.5] + [1.5] * 30 + [0.001] * 29 + [40.5] + [1.5] * 200,
    }
    out = tmp_path / "out"
    audit(write_table(tmp_path / "t.csv", columns), *options(**GIVEN, out=out))
    told = json.loads((out / "bias.json").read_text(encoding="utf-8"))

    assert "b" in told["suppressed"]["g"]
    assert "c" in told["partly_suppressed"]["g"] + told["suppressed"]["g"]
    assert told["groups"]["g"]["c"]["true_positive_rate"]["n"] is None
    assert len(told["suppressed"]["g"]) < 4


def test_equal_fractional_weights_hide_what_as_many_lines_do() -> None:
    lines = np.array([[[40, 9], [0, 30]], [[40, 20], [20, 30]], [[0, 0], [0, 0]]])
    table = GroupTable(
        attribute="g", groups=("a", "b", "unknown"), labels=("no", "yes"), num_bins=2, scored=False, counts=lines,
        sampling=Sampling(weights=0.3 * lines, squares=0.09 * lines),
    )  # fmt: skip

    found = denominators(table)
    assert {group: of[: len(of) // 2] for group, of in found.items()} == denominators(replace(table, sampling=None))
    assert all(of[: len(of) // 2] == of[len(of) // 2 :] for of in found.values())


def test_tables_with_sampling_weights_are_not_added() -> None:
    zeros = np.zeros((2, 2, 2))
    table = GroupTable(
        attribute="g", groups=("a", "unknown"), labels=("0", "1"), num_bins=2, scored=False,
        counts=zeros.astype(np.int64), sampling=Sampling(weights=zeros, squares=zeros),
    )  # fmt: skip

    with pytest.raises(DataError, match="sampling weights cannot be added"):
        _ = table + table
