"""Finished runs side by side: from directories, from sweeps, and from results in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedcore.errors import DataError, FedcoreError, RunDirectoryError
from fedcore.report.comparison.configurations import Configuration, by_configuration
from fedcore.report.comparison.figures import ComparedRun
from fedcore.report.comparison.table import csv_text, rows_of, text_lines
from fedcore.report.page.run_record import Round, RunRecord, read_run
from fedcore.storage.files import write_whole
from fedcore.text.wording import counted, named
from fedcore_simulations.study.directory import SWEEP_FILE, SweepDirectory

if TYPE_CHECKING:
    import pandas as pd

    from fedcore_simulations.runner import SimulationResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Several runs in one table.

    Attributes:
        configurations: Runs that differ in the seed alone, with mean and interval of each figure.
        notes: What a reader must know before choosing a run.
    """

    configurations: tuple[Configuration, ...]
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A mapping for each configuration: settings by ``section.key``, ``runs``, and figures with intervals."""
        return rows_of(self.configurations)

    @property
    def frame(self) -> pd.DataFrame:
        """`rows` as a pandas table."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    def __str__(self) -> str:
        return "\n".join(text_lines(self.configurations))

    def write_csv(self, path: Path | str) -> Path:
        return _written(Path(path), csv_text(self.configurations), ".csv")

    def write_html(self, path: Path | str) -> Path:
        """Write one page with the table and overlaid curves; it needs no network and no JavaScript."""
        from fedcore.report.comparison.page import render_comparison

        return _written(Path(path), render_comparison(self.configurations, notes=self.notes), ".html")


def compare(runs: Sequence[Path | str | SimulationResult] | Path | str | SimulationResult) -> Comparison:
    """Compare finished runs of one task.

    Args:
        runs: Run directories, directories of sweeps, or results of `simulate`; several or one.

    Raises:
        RunDirectoryError: A directory holds no finished run, or no sweep; all of them are named.
        DataError: The runs are of different tasks, or there are none.
    """
    if not isinstance(runs, Sequence) or isinstance(runs, str):
        runs = [runs]
    found, notes, problems = list[ComparedRun](), list[str](), list[str]()
    keys: dict[str, None] = {}
    for one in runs:
        try:
            found += (
                _of_directory(Path(one).resolve(), notes, keys) if isinstance(one, str | Path) else [_of_result(one)]
            )
        except FedcoreError as error:
            problems.append(str(error))
    if problems:
        raise RunDirectoryError("\n".join(problems))
    _check_comparable(found)
    found, copies = _without_copies(found)
    return Comparison(configurations=by_configuration(found, always=[*keys]), notes=(*dict.fromkeys(notes), *copies))


def _of_directory(path: Path, notes: list[str], keys: dict[str, None]) -> Iterator[ComparedRun]:
    """The finished runs of a directory; adds the notes and keys of its sweep to `notes` and `keys`."""
    if not (path / SWEEP_FILE).is_file():
        if (path.parent / SWEEP_FILE).is_file():
            notes += SweepDirectory.open(path.parent).notes
        yield _read(path, path.name)
        return
    sweep = SweepDirectory.open(path)
    finished = [name for name in sweep.names if sweep.is_finished(name)]
    if not finished:
        raise RunDirectoryError(f"no run of the sweep {path} is finished; run it again to finish it")
    if left := len(sweep.names) - len(finished):
        notes.append(f"{left} of {counted(len(sweep.names), 'run')} of {path.name} are not finished and not shown.")
    notes += sweep.notes
    keys |= dict.fromkeys(sweep.keys)
    for name in finished:
        yield _read(path / name, name)


def _read(path: Path, name: str) -> ComparedRun:
    if not path.is_dir():
        raise RunDirectoryError(f"there is no directory {path}")
    if (path / "plan.toml").is_file() and not (path / "summary.json").is_file():
        raise RunDirectoryError(f"the run {path} is not finished; resume it with: fedcore simulate --resume {path}")
    record = read_run(path)
    if not record.plan:
        raise RunDirectoryError(f"{path} has no plan.toml, so that its settings are not known")
    return ComparedRun.of(name, record)


def _of_result(result: SimulationResult) -> ComparedRun:
    lines = (json.loads(json.dumps(line)) for line in result.rounds)
    record = RunRecord(
        summary=result.summary, plan=result.plan.to_toml(), rounds=tuple(Round.of(line) for line in lines)
    )
    return ComparedRun.of(f"{result.summary['task']}, seed {result.plan.federation.seed}", record)


def _check_comparable(runs: Sequence[ComparedRun]) -> None:
    if not runs:
        raise DataError("there is no run to compare; give directories of finished runs")
    by_task = {run.task: run.name for run in runs}
    if len(by_task) > 1:
        tasks = ", ".join(f"{task!r} (such as {name})" for task, name in by_task.items())
        raise DataError(
            f"these runs are of different tasks: {tasks}. Their metrics are about different rows, so that a table of "
            "them would mean nothing; compare the runs of each task"
        )


def _without_copies(runs: Sequence[ComparedRun]) -> tuple[list[ComparedRun], list[str]]:
    """Each run once: a second one with the same plan and the same model adds no evidence."""
    kept: dict[tuple[Any, ...], ComparedRun] = {}
    copies = []
    for run in runs:
        summary = run.record.summary
        key = (summary.get("plan_sha256"), summary.get("model_sha256"), run.settings.get("engine.name"))
        if kept.setdefault(key, run) is not run and kept[key].name != run.name:
            copies.append(f"{run.name} has the same plan and the same model as {kept[key].name}")
    notes = [f"Counted once: {named(copies, most=3)}."] if copies else []
    return list(kept.values()), notes


def _written(path: Path, text: str, suffix: str) -> Path:
    if path.suffix != suffix:  # so that no file of a run is replaced
        raise DataError(f"expected a file that ends in {suffix}, found {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)
    return path
