"""What a simulation shows of a run, and its summary."""

from io import StringIO

import pytest
from rich.console import Console

from fedcore.method.names import method_words
from fedcore.plan.resolve import resolve
from fedcore_simulations import simulate
from fedcore_simulations.progress import RoundsDisplay
from tests.builders import TinyTask, build_plan

SCAFFOLD = {"algorithm": {"name": "scaffold"}, "aggregation": {"encode": ["top-k:0.5", {"name": "int8"}]}}


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({}, "fedavg"),
        (SCAFFOLD, "scaffold, top-k:0.5 + int8"),
        ({"aggregation": {"rule": "uniform"}}, "fedavg, uniform"),
        ({"algorithm": {"name": "fedprox:0.3"}, "aggregation": {"rule": "mean"}}, "fedprox:0.3"),
    ],
)
def test_the_method_of_a_plan_in_words_is_its_algorithm_its_own_rule_and_its_encodings(sections, words):
    plan = build_plan(**sections)
    assert method_words(plan) == method_words(resolve(plan)) == words


def test_the_first_line_of_a_run_and_its_summary_and_report_name_the_method(tmp_path):
    console = Console(file=StringIO(), width=1000)
    with RoundsDisplay(console) as display:
        run = simulate(TinyTask(), build_plan(**SCAFFOLD), listeners=[display], out=tmp_path / "run")
    line = console.file.getvalue().splitlines()[0]
    assert "3 rounds, scaffold, top-k:0.5 + int8, privacy none, cpu" in line
    assert {name: run.summary[name] for name in ("algorithm", "rule", "encodings")} == {
        "algorithm": "scaffold",
        "rule": "mean",
        "encodings": ["top-k:0.5", "int8"],
    }
    report = (tmp_path / "run" / "report.html").read_text()
    assert "3 rounds · 120 rows · scaffold, mean, top-k:0.5 + int8 · loop engine" in report


def test_each_line_of_a_sampled_evaluation_says_so_and_the_first_line_names_the_engine():
    console = Console(file=StringIO(), width=1000)
    plan = build_plan(federation={"clients": 6, "rounds": 2, "evaluate_clients": 2}, engine={"name": "loop"})
    with RoundsDisplay(console) as display:
        simulate(TinyTask(), plan, listeners=[display])
    first, *rounds = console.file.getvalue().splitlines()
    assert first.endswith("engine loop")
    assert ["on 2 of 6 clients" in line for line in rounds] == [True, True]
