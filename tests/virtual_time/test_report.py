"""Simulated time in what a run leaves behind: journal, report and comparison."""

import re

import pytest

from fedcore.report.page.page import render
from fedcore.report.page.run_record import read_run
from fedcore.report.page.simulated_time import simulated_time_figures
from fedcore.round_line import figures_of
from fedcore_simulations import compare, simulate
from tests.virtual_time.builders import UNEQUAL, timed_plan


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    made = tmp_path_factory.mktemp("timed")
    plans = {
        "fedavg": {"devices": UNEQUAL},
        "fedbuff": {"devices": UNEQUAL, "algorithm": "fedbuff:2", "federation": {"rounds": 9}},
        "untimed": {},
    }
    for name, sections in plans.items():
        simulate(plan=timed_plan(**sections), out=made / name)
    return made


def test_the_report_has_a_timeline_and_learning_over_simulated_time(runs):
    record = read_run(runs / "fedbuff")
    learning, timeline = simulated_time_figures(record)
    assert learning.title == "Accuracy over simulated time"
    assert len(learning.table.rows) == 9
    spans = [(one.number, name) for one in record.rounds for name in one.simulated_spans]
    assert [(int(row[0]), row[1]) for row in timeline.table.rows] == spans
    lost = sum(row[-1] != "counted" for row in timeline.table.rows)
    assert timeline.sentence.startswith(f"{lost} of {len(spans)} replies were lost")
    drawn = timeline.picture
    assert (drawn.count('class="counted"'), drawn.count('class="rejected"')) == (len(spans) - lost, lost)
    assert "Who trained when" in render(record)


def test_a_stroke_is_drawn_from_request_to_reply(runs):
    """The picture's places are a straight line of the table's seconds."""
    timeline = simulated_time_figures(read_run(runs / "fedavg"))[1]
    strokes = [
        float(x) for x in re.findall(r'd="M[\d.]+ [\d.]+H([\d.]+)" class="(?:counted|rejected)"', timeline.picture)
    ]
    seconds = [float(row[3]) for row in timeline.table.rows]
    assert len(strokes) == len(seconds) > 5
    slope = (max(strokes) - min(strokes)) / (max(seconds) - min(seconds))
    for place, second in zip(strokes, seconds, strict=True):
        assert place == pytest.approx(max(strokes) - slope * (max(seconds) - second), abs=0.2)


def test_a_run_without_simulated_time_reports_none(runs):
    record = read_run(runs / "untimed")
    assert simulated_time_figures(record) == []
    assert "simulated" not in render(record)


def test_trackers_are_given_the_clock(runs):
    line = simulate(plan=timed_plan(devices=UNEQUAL)).rounds[-1]
    assert figures_of(line)["simulated_clock"] == line["simulated_clock"]


def test_compare_has_simulated_seconds_as_a_column_and_an_axis(runs, tmp_path):
    found = compare([runs / "fedavg", runs / "fedbuff"])
    rows = {row["algorithm.name"]: row["simulated_seconds"] for row in found.rows}
    for name, algorithm in (("fedavg", "fedavg"), ("fedbuff", "fedbuff:2")):
        assert rows[algorithm] == read_run(runs / name).summary["simulated_seconds"] > 0
    assert "simulated time" in str(found)
    assert "Accuracy over simulated seconds" in found.write_html(tmp_path / "page.html").read_text()


def test_compare_names_profiles_and_not_each_of_their_numbers(tmp_path):
    for name in ("phones", "hospital-servers"):
        simulate(plan=timed_plan(devices={"profiles": name}, federation={"rounds": 1}), out=tmp_path / name)
    found = compare([tmp_path / "phones", tmp_path / "hospital-servers"])
    assert [configuration.settings for configuration in found.configurations] == [
        {"devices.profiles": "phones"},
        {"devices.profiles": "hospital-servers"},
    ]
