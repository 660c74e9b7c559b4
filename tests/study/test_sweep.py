"""A sweep, as a user meets it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from fedcore.errors import DeploymentError, PlanError, RunDirectoryError
from fedcore.storage.lock import holding
from fedcore_simulations import compare, simulate
from fedcore_simulations.commands.sweep import sweep
from fedcore_simulations.study.grid import Axis, Grid
from fedcore_simulations.study.sweep import Sweep
from tests.builders import Stopping

OWN_TASK = """
import os, time
import torch
from torch import nn
from fedcore import Classification, Examples

class Own(Classification):
    name = "own"
    labels = ("a", "b")
    def __init__(self, trouble="none"):
        self.trouble = trouble
    def build_model(self):
        return nn.Linear(3, 2)
    def load_data(self, path):
        if self.trouble == "raise":
            raise OSError("the data server is away")
        if self.trouble == "die":
            os.kill(os.getpid(), 9)
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randn(60, 3, generator=generator)
        return Examples(columns={"inputs": inputs, "targets": (inputs[:, 0] > 0).long()})
    def loss(self, model, batch):
        if self.trouble == "slow":
            time.sleep(0.02)
        return super().loss(model, batch)
"""

SETTINGS = ("federation.clients=2", "federation.rounds=3", "training.device=cpu")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory with a task of one's own."""
    (tmp_path / "own_task.py").write_text(OWN_TASK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("own_task", None)


def arguments(*more: str, out: str | None = "study") -> list[str]:
    place = [] if out is None else ["--out", out]
    return ["own_task:Own", *(part for each in SETTINGS for part in ("--set", each)), *place, *more]


def run(*given: str, answer: str | None = None) -> Result:
    app = typer.Typer()
    app.command()(sweep)
    return CliRunner().invoke(app, list(given), input=answer)


def model_of(path: Path) -> str:
    return str(json.loads((path / "summary.json").read_text())["model_sha256"])


@pytest.mark.xdist_group("servers")
class TestRunning:
    def test_what_fails_is_reported_at_the_end_and_loses_no_other_run(self, here: Path) -> None:
        given = arguments("--vary", "task.options.trouble=die,raise,none", "--jobs", "1")
        done = run(*given)

        assert done.exit_code == 2
        assert "3/3" in done.stderr
        assert "2 runs did not finish" in done.stderr
        assert "the data server is away" in done.stderr
        assert "killed" in done.stderr
        assert list(json.loads(Path("study/sweep.json").read_text())["failed"]) == [
            "trouble=die,seed=0",
            "trouble=raise,seed=0",
        ]
        assert "trouble" in done.stdout.splitlines()[0]  # though one value is left
        by_hand = simulate("own_task:Own", Grid(
            subject="own_task:Own", settings=SETTINGS, axes=(Axis.of("task.options.trouble=none"),), seeds=2,
        ).runs()[0].plan, out="by-hand")  # fmt: skip
        assert model_of(here / "study/trouble=none,seed=0") == by_hand.summary["model_sha256"]

    def test_the_same_command_resumes_what_was_stopped_and_skips_what_is_finished(self, here: Path) -> None:
        grid = Grid(
            subject="own_task:Own", settings=SETTINGS, axes=(Axis.of("training.learning-rate=0.1,0.2"),), seeds=1
        )
        prepared = Sweep.prepare(grid, out=Path("study"))
        prepared.directory.write()
        finished, stopped = prepared.runs
        simulate(None, finished.plan, out=here / "study" / finished.name)
        with pytest.raises(KeyboardInterrupt):
            simulate(None, stopped.plan, out=here / "study" / stopped.name, listeners=[Stopping()])
        written = (here / "study" / finished.name / "report.html").stat().st_mtime_ns

        done = run(*arguments("--vary", "training.learning-rate=0.1,0.2"))

        assert done.exit_code == 0, done.output
        assert "1 finished already; 1 run to resume" in done.stderr
        assert (here / "study" / finished.name / "report.html").stat().st_mtime_ns == written
        lines = (here / "study" / stopped.name / "rounds.jsonl").read_text().splitlines()
        assert [json.loads(line)["round"] for line in lines] == [1, 2, 3]
        by_hand = simulate(None, stopped.plan)
        assert model_of(here / "study" / stopped.name) == by_hand.summary["model_sha256"]
        assert {row["training.learning-rate"] for row in compare([here / "study"]).rows} == {0.1, 0.2}
        assert {path.name for path in (here / "study").iterdir()} >= {"sweep.json", "table.csv", "comparison.html"}

    def test_ctrl_c_keeps_the_rounds_of_a_run_in_work_and_leaves_no_process(self, here: Path) -> None:
        code = (
            "import signal, sys, typer; signal.signal(signal.SIGINT, signal.default_int_handler);"
            "from fedcore_simulations.commands.sweep import sweep; typer.run(sweep)"
        )
        slow = ("--set", "task.options.trouble=slow", "--set", "federation.rounds=2000")
        given = arguments(*slow, "--seeds", "2", "--jobs", "1")
        process = subprocess.Popen([sys.executable, "-c", code, *given], stderr=subprocess.PIPE, text=True)
        checkpoint = here / "study" / "seed=0" / "checkpoint" / "state.safetensors"
        _until(checkpoint.is_file)
        process.send_signal(signal.SIGINT)
        _, shown = process.communicate(timeout=60)

        assert process.returncode == 130
        assert "0 of 2 runs are finished" in shown
        assert "the same command again resumes" in shown
        assert checkpoint.is_file()
        assert not _processes_in(here)


def _until(condition, *, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def _processes_in(directory: Path) -> list[str]:
    """Other processes whose working directory this is (Linux)."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            if each.name != str(os.getpid()) and (each / "cwd").resolve() == directory:
                found.append(each.name)
        except OSError:
            continue
    return found


def test_a_large_sweep_asks_and_runs_nothing_without_a_yes(here: Path) -> None:
    given = arguments("--vary", "federation.rounds=" + ",".join(map(str, range(1, 101))), "--seeds", "100")

    for answer in ("n\n", None):
        done = run(*given, answer=answer)
        assert "10,000 runs" in done.output + str(done.exception)
        assert done.exit_code != 0
    assert not Path("study").exists()


def test_a_directory_of_another_grid_is_refused_and_a_larger_grid_is_let_in(here: Path) -> None:
    def prepare(*rates: str, out: Path | None = Path("study")) -> Sweep:
        axis = Axis(key="training.learning-rate", texts=rates)
        return Sweep.prepare(Grid(subject="own_task:Own", settings=SETTINGS, axes=(axis,), seeds=1), out=out)

    prepare("0.1", "0.2").directory.write()

    assert len(prepare("0.1", "0.2", "0.3").left) == 3
    with pytest.raises(Exception, match=r"another grid: 1 run of it not asked for now, such as learning-rate=0\.2"):
        prepare("0.1", "0.4")
    (here / "else").mkdir()
    (here / "else/notes.txt").write_text("mine")
    with pytest.raises(Exception, match="give another --out"):
        prepare("0.1", "0.2", out=here / "else")


def test_a_method_that_contradicts_its_plan_is_refused_before_anything_runs(here: Path) -> None:
    axis = Axis.of("aggregation.rule=mean,trimmed-mean:0.2")

    with pytest.raises(PlanError, match=r"rule=trimmed-mean:0\.2,seed=0: .* set it to 5 or more"):
        Sweep.prepare(Grid(subject="own_task:Own", settings=SETTINGS, axes=(axis,), seeds=2), out=Path("study"))


def test_without_out_the_same_grid_finds_its_directory_again(here: Path) -> None:
    def prepare(seeds: int) -> Sweep:
        return Sweep.prepare(Grid(subject="own_task:Own", settings=SETTINGS, axes=(), seeds=seeds))

    first = prepare(2)
    first.directory.write()

    assert first.directory.path == Path("runs/sweep-Own-0001")
    assert prepare(2).directory.path == first.directory.path
    assert prepare(3).directory.path == Path("runs/sweep-Own-0002")


def test_other_test_data_is_another_sweep_and_a_missing_file_is_found_before_anything_runs(tmp_path: Path) -> None:
    axes = (Axis.of("training.learning-rate=0.1,0.2"),)

    def prepared(name: str) -> Sweep:
        settings = (f"task.test-data={tmp_path / name}", "privacy.unit=none")
        return Sweep.prepare(Grid(subject="synthetic", settings=settings, axes=axes, seeds=1), out=tmp_path / "sweep")

    (tmp_path / "rows").write_text("one")
    sweep = prepared("rows")
    sweep.directory.write()
    assert len(prepared("rows").left) == 2
    (tmp_path / "rows").write_text("two")
    with pytest.raises(RunDirectoryError, match="made by another grid"):
        prepared("rows")
    with pytest.raises(PlanError, match=r"task\.test-data: nothing at"):
        prepared("absent")


def test_a_second_process_on_the_same_sweep_is_refused(here: Path) -> None:
    prepared = Sweep.prepare(Grid(subject="own_task:Own", settings=SETTINGS, axes=(), seeds=2), out=Path("study"))
    prepared.directory.write()
    with (
        holding(Path("study/.lock"), busy="taken"),
        pytest.raises(DeploymentError, match="another fedcore sweep is running"),
    ):
        prepared.run(jobs=1, show=lambda event: None)


@pytest.mark.parametrize("option", ["privacy.epsilonn=1,2", "federation.partition=iid,dirichlett:0.3"])
def test_a_typo_is_shown_before_anything_that_costs_seconds_is_imported(here: Path, option: str) -> None:
    code = (
        "import sys, typer\nfrom fedcore_simulations.commands.sweep import sweep\n"
        "try:\n    typer.run(sweep)\nexcept Exception as error:\n    print(error)\n"
        "print(sorted({'torch', 'flwr', 'opacus', 'sklearn', 'pandas', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "digits", "--vary", option], capture_output=True, text=True, check=True
    )

    assert "did you mean" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_teaches() -> None:
    shown = run("--help").stdout

    for word in ("--vary", "--seeds", "--jobs", "--yes", "Examples", "privacy.epsilon=1,2,4,8"):
        assert word in shown
