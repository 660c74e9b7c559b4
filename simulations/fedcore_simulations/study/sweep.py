"""From a grid to finished runs: in parallel, resumed, and each an ordinary run directory."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import fedcore
from fedcore.errors import PlanError
from fedcore.method.method import Method
from fedcore.plan import RunPlan
from fedcore.plan.own_files import with_own_files
from fedcore.storage.lock import holding
from fedcore.storage.mapped_bytes import mapped_file, sha256
from fedcore.tasks.registry import settled
from fedcore_simulations.engines.workers import default_workers
from fedcore_simulations.study.crew import Crew
from fedcore_simulations.study.directory import SweepDirectory, check_same_grid, place_for
from fedcore_simulations.study.grid import SEED, Grid, GridRun
from fedcore_simulations.study.job import Ended, Job, Progress
from fedcore_simulations.study.trials import check_trials, together_notes, trial_notes


@dataclass(kw_only=True)
class Sweep:
    """A grid with its place on disk.

    Attributes:
        left: Runs that are not finished.
        notes: What choosing among the runs costs in privacy.
        failed: Runs that did not finish, after `run`.
    """

    grid: Grid
    runs: list[GridRun]
    directory: SweepDirectory
    notes: list[str]
    failed: list[Ended] = field(default_factory=list)

    @classmethod
    def prepare(cls, grid: Grid, *, out: Path | None = None, command: str | None = None) -> Sweep:
        """Check every plan and the directory; nothing is written.

        Raises:
            FedcoreError: Something is wrong with a plan, or the directory holds something else.
        """
        runs = grid.runs()
        runs = [replace(run, plan=with_own_files(run.plan)) for run in runs]
        plans = [run.plan for run in runs]
        check_trials(plans)
        _check_methods(runs)
        hashes = {run.name: _hash(run.plan) for run in runs}
        task = plans[0].task.name.rpartition(":")[2].replace(".", "-") or "run"
        path = out or place_for(Path("runs"), task, hashes)
        check_same_grid(path, hashes)
        notes = trial_notes(plans)
        content = {**_described(grid, command), "notes": notes, "runs": _rows(runs, hashes)}
        return cls(grid=grid, runs=runs, directory=SweepDirectory(path, content), notes=notes)

    @property
    def left(self) -> list[GridRun]:
        return [run for run in self.runs if not self.directory.is_finished(run.name)]

    @property
    def begun(self) -> int:
        return sum(self.directory.is_begun(run.name) for run in self.runs)

    def default_jobs(self) -> int:
        """Runs side by side: as many as there are cores for, and one where a GPU trains."""
        if any(_may_use_gpu(run.plan) for run in self.left):
            return 1
        workers = max((run.plan.engine.workers or 1 for run in self.left), default=1)
        return max(1, min(len(self.left), default_workers() // workers))

    def run(
        self, *, jobs: int, show: Callable[[Progress | Ended], None], stopping: Callable[[], None] = lambda: None
    ) -> None:
        """Make the runs that are left; what one of them raises is kept in `failed`.

        Args:
            show: Called with everything that happens.
            stopping: Called when Ctrl-C begins to stop runs in work.

        Raises:
            DeploymentError: Another process runs this sweep.
        """
        with self._writing(), Crew(jobs, stopping=stopping) as crew:
            for event in crew.run([self._job(run, jobs) for run in self.left]):
                if isinstance(event, Ended) and event.summary is None:
                    self.failed.append(event)
                show(event)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the directory, and write down how the sweep ended."""
        path = self.directory.path
        path.mkdir(parents=True, exist_ok=True)
        with holding(path / ".lock", busy=f"another fedcore sweep is running in {path}; wait for it, or stop it"):
            self.directory.write()
            try:
                yield
            finally:
                self.directory.drop_empty_logs()
                self.directory.write(failed={ended.name: ended.failure for ended in self.failed})
            begun = [path / run.name for run in self.runs if (path / run.name / "plan.toml").is_file()]
            self.directory.write(notes=[*self.notes, *together_notes(begun)])

    def _job(self, run: GridRun, jobs: int) -> Job:
        path = self.directory.path / run.name
        return Job(
            name=run.name,
            directory=str(path),
            plan=run.plan.to_mapping(),
            workers=run.plan.engine.workers or max(1, default_workers() // jobs),
            log=str(self.directory.log(run.name)),
            command=shlex.join(self.grid.command(run)),
        )


def _check_methods(runs: Sequence[GridRun]) -> None:
    """Refuse methods that contradict their plan: each run would refuse by itself, one after the other.

    Raises:
        PlanError: Every contradiction, with the run that has it.
    """
    problems: dict[str, str] = {}
    without_seeds = {json.dumps({**run.settings, SEED: None}): run for run in reversed(runs)}
    for run in reversed(without_seeds.values()):
        try:
            Method.of(run.plan)
        except PlanError as error:
            problems.setdefault(str(error), run.name)
    if problems:
        raise PlanError([f"{name}: {problem}" for problem, name in problems.items()])


def _hash(plan: RunPlan) -> str:
    """Of the plan, and of the test data that its results are measured on, which are no part of its own hash."""
    plan = settled(plan)
    if plan.task.test_data is None:
        return plan.sha256
    path = Path(plan.task.test_data).resolve()
    tested = sha256(mapped_file(path)) if path.is_file() else str(path)
    return hashlib.sha256(f"{plan.sha256} {tested}".encode()).hexdigest()


def _described(grid: Grid, command: str | None) -> dict[str, Any]:
    return {
        "fedcore_version": fedcore.__version__,
        "command": command,
        "subject": grid.subject,
        "settings": list(grid.settings),
        "vary": {axis.key: list(axis.texts) for axis in grid.axes},
        "seeds": grid.seeds,
    }


def _rows(runs: Sequence[GridRun], hashes: dict[str, str]) -> list[dict[str, Any]]:
    return [{"name": run.name, "settings": dict(run.settings), "plan_sha256": hashes[run.name]} for run in runs]


def _may_use_gpu(plan: RunPlan) -> bool:
    import torch

    if plan.training.device != "auto":
        return plan.training.device != "cpu"
    return torch.cuda.is_available() or torch.backends.mps.is_available()
