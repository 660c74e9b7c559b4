"""Comparing finished runs: from directories, from a sweep's directory, and from results in memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import fedcore_simulations
from fedcore.errors import DataError, RunDirectoryError
from fedcore_simulations import compare, simulate
from fedcore_simulations.commands.compare import compare as command
from tests.builders import TinyTask, build_plan


def tiny(seed: int = 0, *, rate: float = 0.1, out: Path | None = None):
    plan = build_plan(federation={"rounds": 2, "seed": seed}, training={"learning_rate": rate})
    return simulate(TinyTask(rows=60), plan, out=out)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Runs made by hand: two seeds at two rates."""
    above = tmp_path_factory.mktemp("runs")
    paths = [above / f"{rate}-{seed}" for rate in (0.1, 0.3) for seed in (0, 1)]
    for path in paths:
        rate, _, seed = path.name.partition("-")
        tiny(int(seed), rate=float(rate), out=path)
    return paths


def accuracy_of(path: Path) -> float:
    return float(json.loads((path / "summary.json").read_text())["metrics"]["accuracy"])


def test_directories_become_a_frame(runs: list[Path]) -> None:
    frame = compare(runs).frame

    assert list(frame["training.learning-rate"]) == [0.1, 0.3]
    assert list(frame["runs"]) == [2, 2]
    assert frame["accuracy"][0] == pytest.approx((accuracy_of(runs[0]) + accuracy_of(runs[1])) / 2)


def test_results_in_memory_give_the_figures_of_their_directories(runs: list[Path]) -> None:
    (row,), (stored,) = compare([tiny(0)]).rows, compare(runs[:1]).rows
    measured = [key for key in {**row, **stored} if key.startswith(("seconds", "energy")) or "kwh" in key]

    assert {k: v for k, v in row.items() if k not in measured} == {k: v for k, v in stored.items() if k not in measured}


def test_a_copy_of_a_run_is_counted_once(runs: list[Path]) -> None:
    found = compare([*runs[:1], tiny(0)])

    assert found.rows[0]["runs"] == 1
    assert "same model" in found.notes[0]


def test_runs_of_different_tasks_are_refused(runs: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name in ("plan.toml", "summary.json", "rounds.jsonl"):
        text = (runs[0] / name).read_text().replace("tests.builders:TinyTask", "digits")
        (other / name).write_text(text)

    with pytest.raises(DataError, match=r"different tasks.*TinyTask.*digits"):
        compare([runs[0], other])


def test_directories_without_a_finished_run_are_all_named(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match=r"(?s)first.*second"):
        compare([runs[0], tmp_path / "first", tmp_path / "second"])


def test_the_command_prints_the_table_and_writes_the_files(runs: list[Path], tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(command)
    csv, html = tmp_path / "deep" / "table.csv", tmp_path / "page.html"

    done = CliRunner().invoke(app, [*map(str, runs), "--csv", str(csv), "--html", str(html)])

    assert done.exit_code == 0, done.output
    assert "learning-rate" in done.stdout
    assert csv.read_text().startswith("training.learning-rate,runs,accuracy")
    assert "<svg" in html.read_text()


def test_it_is_exported_where_simulate_is() -> None:
    assert {"compare", "simulate"} <= set(dir(fedcore_simulations))


def test_no_file_of_a_run_is_replaced(runs: list[Path]) -> None:
    model = runs[0] / "model.safetensors"
    before = model.read_bytes()
    for write in (compare(runs).write_csv, compare(runs).write_html):
        with pytest.raises(DataError, match=r"expected a file that ends in \.(csv|html)"):
            write(model)
    assert model.read_bytes() == before


def test_what_is_missing_or_not_finished_is_said(runs: list[Path], tmp_path: Path) -> None:
    (stopped := tmp_path / "stopped").mkdir()
    (stopped / "plan.toml").write_text((runs[0] / "plan.toml").read_text())
    with pytest.raises(
        RunDirectoryError, match=r"(?s)no directory .*absent.*not finished; resume it with: fedcore simulate"
    ):
        compare([tmp_path / "absent", stopped])
