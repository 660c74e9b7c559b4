"""Results that may not change unless it is meant: of eight plans, to the bit."""

from __future__ import annotations

import json

import pytest

from tests.golden.runs import GOLDEN, PLANS, canary, golden_run

RECORDED = json.loads(GOLDEN.read_text(encoding="utf-8"))
SMALL = {
    "loss": 1e-4,
    "norm of the parameters": 1e-5,
    "epsilon": 1e-6,
}  # relative; others are absolute
HOW = (
    "To see the lines that changed: python -m tests.golden.record --out DIR, here and at a commit where this test "
    "passes, then diff -r. If the change is meant: python -m tests.golden.record, and say why in the commit."
)


@pytest.fixture(scope="module")
def run_of(tmp_path_factory):
    runs = {}

    def run(name):
        if name not in runs:
            runs[name] = golden_run(name, tmp_path_factory.mktemp(name))
        return runs[name]

    return run


def unlike(name, run):
    """The numbers that differ from the recorded ones by more than rounding."""
    recorded = RECORDED["plans"][name]["numbers"]
    assert run.numbers.keys() == recorded.keys(), f"{name}: other numbers than recorded. {HOW}"
    close = {key: {"rel": SMALL[key]} if key in SMALL else {"abs": 0.01} for key in recorded}
    return [
        f"{key} was {value:.9g}, is {run.numbers[key]:.9g}"
        for key, value in recorded.items()
        if run.numbers[key] != pytest.approx(value, **close[key])
    ]


def test_every_plan_is_recorded():
    assert RECORDED["plans"].keys() == PLANS.keys()


@pytest.mark.parametrize("name", PLANS)
def test_the_numbers_are_those_recorded(name, run_of):
    assert not (found := unlike(name, run_of(name))), f"{name}: {'; '.join(found)}. {HOW}"


@pytest.mark.parametrize("name", PLANS)
def test_the_fastest_engine_gives_the_same_numbers(name, tmp_path):
    run = golden_run(name, tmp_path, engine={"name": "auto"})
    assert not (found := unlike(name, run)), f"{name}: {'; '.join(found)}"


@pytest.mark.parametrize("name", PLANS)
def test_the_files_are_those_recorded_to_the_bit(name, run_of):
    here = canary()
    if other := [key for key, value in RECORDED["canary"].items() if here[key] != value]:
        pytest.skip(f"golden.json is of another machine ({', '.join(other)}): only its numbers are compared")
    found, recorded = run_of(name).hashes(), RECORDED["plans"][name]["sha256"]
    changed = [file for file in {**recorded, **found} if found.get(file) != recorded.get(file)]
    assert not changed, f"{name}: {', '.join(changed)} changed. {HOW}"


def test_one_percent_more_learning_rate_is_noticed(tmp_path):
    name = "synthetic-fedprox"
    run = golden_run(name, tmp_path, training={"learning-rate": 0.0101})
    assert unlike(name, run)
    assert run.hashes()["model"] != RECORDED["plans"][name]["sha256"]["model"]
