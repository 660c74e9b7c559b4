"""The pictures of what is no rate: that marks lie where the numbers are, and tell no more than may be shown."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from fedcore.audit.metrics.estimators.calibration import Bins, calibration_curves, joined
from fedcore.audit.metrics.gaps import Gap
from fedcore.audit.statistics.intervals import Interval
from fedcore.audit.statistics.pairs import Pair, Side
from fedcore.audit.tables.scores import scores_of_table
from fedcore.audit.verdict.gap_json import reach_words
from fedcore.report.page.beyond_rates import more_figures
from fedcore.report.page.groups import shown_rates
from fedcore.report.page.run_record import Bias, RunRecord
from fedcore.report.page.wording import capitalised, difference_text
from fedcore.report.pictures.figures import Figure
from fedcore.report.pictures.split_chart import SplitRow, split_chart, stacked
from fedcore_simulations import simulate
from tests.audit.builders import limit_of
from tests.audit.test_run_measures import scored_table
from tests.audit.test_site_splits import THREE, split_of
from tests.builders import TinyTask


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    plan = {
        "federation": {"clients": 4, "rounds": 2, "held-out": 0.5},
        "audit": {"sensitive": ["sex"]},
        "engine": {"workers": 1},
        "training": {"device": "cpu"},
    }
    bias = simulate(TinyTask(rows=800), plan).results.bias
    assert bias is not None
    return json.loads(json.dumps(bias.to_json()))


@pytest.fixture
def figures(content: dict[str, Any]) -> dict[str, Figure]:
    record = RunRecord(summary={}, bias=Bias.of(content))
    return {one.title: one for one in more_figures("sex", shown_rates(record, "sex"), record.bias)}


def test_every_measure_has_its_picture(figures: dict[str, Figure]) -> None:
    assert list(figures) == [
        "Impact ratio by sex", "AUC by sex", "Calibration by sex", "Gaps by sex, split over clients",
    ]  # fmt: skip
    assert all(figure.picture.count("interval ") >= 1 for figure in figures.values())


def test_an_area_s_interval_is_drawn_to_scale(figures: dict[str, Figure], content: dict[str, Any]) -> None:
    drawn = str(figures["AUC by sex"].picture)
    ends = [tuple(map(float, found)) for found in re.findall(r'd="M([\d.]+) [\d.]+H([\d.]+)" class="reach"', drawn)]
    dots = [float(found) for found in re.findall(r'cx="([\d.]+)"', drawn)]
    areas = sorted(
        (one["auc"] for group, one in content["groups"]["sex"].items() if group != "unknown"),
        key=lambda auc: auc["value"],
    )
    assert dots == sorted(dots)
    for (low, high), dot, area in zip(ends, dots, areas, strict=True):
        share = (area["value"] - area["low"]) / (area["high"] - area["low"])
        assert low + share * (high - low) == pytest.approx(dot, abs=0.2)
    widths = [high - low for low, high in ends]
    lengths = [area["high"] - area["low"] for area in areas]
    assert widths[0] / widths[1] == pytest.approx(lengths[0] / lengths[1], rel=0.01)


def test_no_point_of_a_calibration_curve_stands_for_fewer_rows_than_a_cell(content: dict[str, Any]) -> None:
    for group, bins in content["calibration"]["sex"].items():
        assert min(one["n"] for one in bins) >= 10
        assert sum(one["n"] for one in bins) == content["groups"]["sex"][group]["accuracy"]["n"]
        assert all(one["low"] <= one["value"] <= one["high"] for one in bins)


def bins_of(*rows: int) -> Bins:
    return np.array([(n * place / 10, n // 2, n) for place, n in enumerate(rows)])


def test_bins_are_joined_with_their_neighbours_and_keep_every_row() -> None:
    bins = bins_of(3, 4, 20, 1, 12, 2, 0, 0, 0, 0)
    found = joined({"f": bins}, ["f"], min_cell=10)["f"]

    assert [n for _, _, n in found] == [27, 15]
    assert found[:, 1].sum() == bins[:, 1].sum()
    assert [n for _, _, n in joined({"f": bins}, ["f"], min_cell=1)["f"]] == [3, 4, 20, 1, 12, 2]


def test_bins_are_joined_alike_in_all_groups_and_what_is_not_shown_is_never_few() -> None:
    curves = {
        "a": bins_of(1, 40, 40, 40, 40, 40, 40, 40, 40, 40),
        "b": bins_of(40, 40, 40, 40, 40, 40, 40, 40, 40, 3),
        "few": bins_of(0, 0, 0, 0, 0, 5, 0, 6, 0, 0),
        "hidden": bins_of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    }
    found = joined(curves, ["a", "b"], min_cell=10)

    assert [n for _, _, n in found["a"]] == [41, 40, 40, 40, 120, 80]  # the fifth to the eighth by the 11 not shown
    assert [n for _, _, n in found["b"]] == [80, 40, 40, 40, 120, 43]


def test_a_curve_is_that_of_the_rows() -> None:
    table, rows = scored_table()
    curve = calibration_curves(scores_of_table(table))[0]

    mine = rows["groups"] == 0
    places = np.minimum((rows["scores"][mine] * 10).astype(int), 9)
    for place, (total, favourable, n) in zip(sorted(set(places)), curve, strict=True):
        labels, scores = rows["labels"][mine][places == place], rows["scores"][mine][places == place]
        assert (n, favourable) == (len(labels), labels.sum())
        assert total == pytest.approx(scores.sum())


def test_stacked_parts_reach_from_the_zero_line_to_the_gap() -> None:
    assert stacked([0.3, -0.1, 0.05]) == [(0.0, 0.3), (0.0, -0.1), (0.3, 0.35)]


def test_bars_are_as_long_as_their_parts() -> None:
    row = SplitRow(name="accuracy", parts=(0.3, -0.1, 0.05), low=0.2, high=0.3)
    drawn = str(split_chart([row], says=""))

    widths = [float(found) for found in re.findall(r'width="([\d.]+)" height="12" class="part', drawn)]
    assert widths[0] / widths[1] == pytest.approx(3, rel=0.01)
    assert widths[0] / widths[2] == pytest.approx(6, rel=0.02)
    assert "25.0 points" in drawn


def test_clients_are_numbers_in_the_split(content: dict[str, Any]) -> None:
    told = {**content, "sites": {"sex": {"selection_rate": split_of(THREE)[1]}}}
    record = RunRecord(summary={}, bias=Bias.of(told))
    figure = more_figures("sex", {}, record.bias)[-1]

    assert figure.sentence == "3 clients of 3 can be judged alone."
    assert not any(name in str(figure) for name in THREE)


def test_clients_over_a_limit_are_told_by_estimate_and_beyond_chance(content: dict[str, Any]) -> None:
    split = split_of(THREE, limits=(limit_of(at_most="0.2"),))[1]
    bias = Bias.of({**content, "sites": {"sex": {"selection_rate": split}}})

    told = more_figures("sex", {}, bias)[-1].sentence
    assert "2 of 3 are over the limit (selection rate difference over sex at most 0.2), 0 of them beyond chance" in told


def test_differences_of_what_is_no_share_are_not_in_points() -> None:
    assert difference_text("selection_rate", 0.051, 0.01, 0.099) == "5.1 points (1.0\u00a0to\u00a09.9)"
    assert difference_text("auc", 0.051, 0.01, 0.099) == "0.051 (0.010\u00a0to\u00a00.099)"
    assert difference_text("demographic_parity", None, None, None) == "not defined"


def test_an_acronym_at_the_beginning_is_written_large() -> None:
    assert [capitalised(words) for words in ("auc: a over b", "auc ratio", "selection rate", "")] == [
        "AUC: a over b", "AUC ratio", "Selection rate", "",
    ]  # fmt: skip


def test_the_terminal_tells_the_interval_of_a_gap_in_its_own_unit() -> None:
    def reach(metric: str) -> str:
        a, b = (Side(group=group, rate=Fraction(rate), n=50) for group, rate in (("a", "0.6"), ("b", "0.55")))
        pair = Pair.of(a, b, Interval(low=0.01, high=0.099))
        return reach_words(Gap(attribute="g", metric=metric, pairs=(pair,), undefined=(), groups_compared=("a", "b")))

    assert reach("balanced_accuracy") == " (1.0 to 9.9)"  # in points
    assert reach("auc") == " (0.010 to 0.099)"
