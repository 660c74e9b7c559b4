"""Runs side by side: which belong together, their means and intervals, and the page."""

from __future__ import annotations

import csv
import io
import math
import re

import numpy as np
import pytest
from scipy import stats

from fedcore.report.comparison.configurations import Mean, by_configuration
from fedcore.report.comparison.curves import curve_figures, drawn, letters
from fedcore.report.comparison.page import render_comparison
from fedcore.report.comparison.table import csv_text, rows_of, text_lines
from tests.study.records import run

RATES = [
    run(accuracy, seed=seed, training={"learning-rate": rate})
    for rate, found in ((0.1, (0.7, 0.8, 0.75)), (0.2, (0.9, 0.92, 0.85)))
    for seed, accuracy in enumerate(found)
]


def private(epsilon: float, noise: float, *, seed: int = 0, spent: float | None = None, **privacy: object):
    settings = {"unit": "record", "noise-multiplier": noise, "nominal-batch": 4.0, "sampling-rate": 0.5, **privacy}
    return run(0.8, seed=seed, summary={"epsilon": spent or epsilon - 0.0004}, privacy=settings)


def test_the_interval_is_that_of_scipy() -> None:
    values = [0.7, 0.8, 0.75]
    mean = Mean.of(values)

    low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert (mean.low, mean.high) == (pytest.approx(low), pytest.approx(high))


def test_one_run_has_no_interval() -> None:
    (row,) = rows_of(by_configuration([run(0.7)]))

    assert (row["accuracy"], row["accuracy_low"], row["accuracy_high"], row["runs"]) == (0.7, None, None, 1)
    assert "±" not in "".join(text_lines(by_configuration([run(0.7)])))


def test_runs_that_differ_in_the_seed_alone_are_one_row_and_the_rest_are_columns() -> None:
    rows = rows_of(by_configuration(RATES))

    assert [(row["training.learning-rate"], row["runs"]) for row in rows] == [(0.1, 3), (0.2, 3)]
    assert [row["accuracy"] for row in rows] == [pytest.approx(0.75), pytest.approx(0.89)]
    assert [row["worst_group"] for row in rows] == [pytest.approx(0.65), pytest.approx(0.79)]
    assert "federation.seed" not in rows[0]


def test_how_fast_a_run_was_made_is_no_setting() -> None:
    same = [run(0.8, engine={"workers": 1}), run(0.9, seed=1, engine={"workers": 4}, run={"track": ["mlflow"]})]

    (configuration,) = by_configuration(same)
    assert configuration.settings == {}


def test_a_noise_that_was_derived_from_a_target_is_shown_as_epsilon() -> None:
    rows = rows_of(by_configuration([private(1, 9.1412), private(1, 9.1412, seed=1, spent=1.2), private(8, 1.4704)]))

    assert [(row["privacy.epsilon"], row["runs"]) for row in rows] == [(1.0, 2), (8.0, 1)]
    assert rows[0]["epsilon"] == 1.2  # an upper bound for each run of the row


def test_a_noise_that_was_given_is_shown_as_it_is() -> None:
    rows = rows_of(by_configuration([private(1, 2.0), private(8, 1.5)]))

    assert [row["privacy.noise-multiplier"] for row in rows] == [2.0, 1.5]


def test_a_divisor_that_follows_from_the_rows_is_no_setting() -> None:
    derived = [private(1, 2.0, **{"sampling-rate": rate, "nominal-batch": 8 * rate}) for rate in (0.25, 0.5)]
    given = [private(1, 2.0, **{"nominal-batch": batch}) for batch in (3.0, 5.0)]

    assert [list(configuration.settings) for configuration in by_configuration(derived)] == [
        ["privacy.sampling-rate"]
    ] * 2
    assert [list(configuration.settings) for configuration in by_configuration(given)] == [
        ["privacy.nominal-batch"]
    ] * 2


def test_a_plug_in_is_one_setting_however_it_is_written() -> None:
    optimizers = ("sgd", {"name": "sgd"}, {"name": "sgd", "momentum": 0.9})
    runs = [run(0.8, seed=k, federation={"server-optimizer": each}) for k, each in enumerate(optimizers)]

    rows = rows_of(by_configuration(runs))
    assert [(row["federation.server-optimizer"], row["runs"]) for row in rows] == [("sgd", 2), ("sgd momentum=0.9", 1)]


def test_energy_is_a_column_only_where_it_was_measured() -> None:
    (without,), (row,) = (
        rows_of(by_configuration([run(0.8)])),
        rows_of(by_configuration([run(0.8, summary={"energy_kwh": 0.002})])),
    )

    assert "energy_kwh" not in without
    assert (row["energy_kwh"], row["accuracy_per_kwh"]) == (0.002, pytest.approx(400.0))


def test_the_interval_of_a_share_stays_between_0_and_1() -> None:
    (row,) = rows_of(by_configuration([run(0.95), run(0.99, seed=1)]))

    assert row["accuracy_high"] == 1.0
    assert row["accuracy_low"] < 0.95


def test_csv_has_the_rows() -> None:
    (first, second) = csv.DictReader(io.StringIO(csv_text(by_configuration(RATES))))

    assert (first["training.learning-rate"], float(second["accuracy"])) == ("0.1", pytest.approx(0.89))
    assert float(second["accuracy_low"]) < 0.89 < float(second["accuracy_high"])


def test_there_is_a_picture_for_every_axis_that_was_measured() -> None:
    titles = [figure.title for figure in curve_figures(drawn(by_configuration(RATES), "accuracy"), "accuracy")]
    measured = by_configuration([private(1, 2.0), run(0.8, summary={"energy_kwh": 0.002})])
    more = [figure.title for figure in curve_figures(drawn(measured, "accuracy"), "accuracy")]

    assert titles == [
        "Final accuracy",
        "Accuracy over rounds",
        "Accuracy over seconds",
        "Accuracy over kB sent and received",
    ]
    assert {"Accuracy over ε spent", "Accuracy over kWh"} <= set(more)


def test_a_curve_is_the_mean_over_seeds() -> None:
    over = {figure.title: figure for figure in curve_figures(drawn(by_configuration(RATES), "accuracy"), "accuracy")}
    by_round = {(row[0], row[1]): row[2] for row in over["Accuracy over rounds"].table.rows}
    traffic = [row[1] for row in over["Accuracy over kB sent and received"].table.rows if row[0] == "A"]

    assert by_round["A", "2.00"].startswith("75.00")
    assert [float(text) for text in traffic] == [3.0, 6.0]


def test_the_page_stands_alone_and_names_every_curve() -> None:
    page = render_comparison(by_configuration(RATES), notes=["<b>careful</b>"])

    assert not re.search(r"<script|https?://|url\(", page)
    assert "&lt;b&gt;careful" in page
    assert page.count('class="line s1"') == page.count('class="line s2"') == 3
    assert "learning-rate=0.1" in page
    assert not re.search(r"\b(nan|inf|None)\b", page)


def test_of_many_groups_the_best_have_colours() -> None:
    many = by_configuration([run(0.5 + k / 100, training={"learning-rate": 0.1 + k / 100}) for k in range(30)])
    shown = drawn(many, "accuracy")

    assert [one.mark for one in shown if one.weight != "faint"] == [letters(k) for k in range(22, 30)]
    assert letters(26) == "AA"
    assert "22 more" in render_comparison(many)


def test_a_task_that_measures_errors_is_compared_too() -> None:
    errors = [
        run(0.0, evaluation={"mean_absolute_error": 4.0 + k}, training={"learning-rate": 0.1 + k}) for k in (0, 1)
    ]
    shown = drawn(by_configuration(errors), "mean_absolute_error")

    assert math.isclose(rows_of(by_configuration(errors))[1]["mean_absolute_error"], 5.0)
    assert len(curve_figures(shown, "mean_absolute_error")) == 3
