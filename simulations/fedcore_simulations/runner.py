"""`simulate`: a whole federation on one machine."""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from fedcore.audit.verdict.report import BiasReport
from fedcore.plan import RunPlan
from fedcore.privacy.linter import warnings_of
from fedcore.seeding import global_streams_kept
from fedcore.task import Task
from fedcore.tasks.registry import checked_task, load_task, settled
from fedcore_server.rounds.driver import Outcome, Run
from fedcore_server.rounds.round_record import RoundRecord
from fedcore_server.rounds.rounds import init_state
from fedcore_server.rounds.state import ServerState
from fedcore_server.runs.directory import RunDirectory
from fedcore_server.runs.participation import took_part_in
from fedcore_server.runs.results import FinishedRun, Results, build_results
from fedcore_simulations.engines.registry import build_engine
from fedcore_simulations.preparation import PROBED, Preparation, prepare

Progress = Callable[[RoundRecord], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationResult:
    """What a simulation leaves behind.

    Attributes:
        model: The released model, on the CPU, in evaluation mode.
        metrics: Means over all held-out rows.
        privacy: The privacy statement; ``None`` without privacy.
        audit: The bias audit; ``None`` where nothing was audited.
        summary: The content of ``summary.json``.
        rounds: One mapping a round, as in ``rounds.jsonl``.
        plan: The resolved plan.
    """

    model: nn.Module
    metrics: Mapping[str, float]
    privacy: Mapping[str, Any] | None
    audit: BiasReport | None
    summary: Mapping[str, Any]
    rounds: tuple[Mapping[str, Any], ...]
    plan: RunPlan
    results: Results

    def save(self, directory: Path | str) -> Path:
        """Write the run directory, report included, and return the report's path.

        Raises:
            RunDirectoryError: The directory is not free, or the disk is full.
        """
        return self.results.write(RunDirectory.create(Path(directory), self.plan), rounds=self.rounds)


def simulate(
    task: Task | str | None = None,
    plan: RunPlan | Mapping[str, Any] | None = None,
    *,
    out: Path | str | None = None,
    progress: Callable[[Preparation], Progress] | None = None,
    command: str | None = None,
) -> SimulationResult:
    """Train, protect and audit a federation of simulated clients.

    Args:
        task: A task, or the name of one as in a plan. The plan's own when absent.
        plan: A plan, or a mapping with its sections in kebab-case.
        out: Directory that is written round by round; without it nothing is written.
        progress: Given what was prepared, returns a function that is told of every round.
        command: The command line, kept in the summary.

    Raises:
        FedcoreError: See ``fedcore.errors``; nothing is written when preparation fails.
    """
    plan = plan if isinstance(plan, RunPlan) else RunPlan.from_mapping(plan or {})
    if task is not None:
        plan = plan.updated(task={"name": task if isinstance(task, str) else _reference(task)})
    if task is None or isinstance(task, str):
        plan = settled(plan)
        made = load_task(plan)
    else:
        made = checked_task(task, plan.task.name)
    ready = prepare(made, plan)
    directory = RunDirectory.create(Path(out), ready.plan) if out is not None else None
    return _run(ready, init_state(ready.task, ready.plan), directory, progress, command, records=[])


def resume(
    path: Path | str,
    *,
    workers: int | None = None,
    progress: Callable[[Preparation], Progress] | None = None,
    command: str | None = None,
) -> SimulationResult:
    """Go on with a run that was stopped, from its last committed round.

    Raises:
        RunDirectoryError: There is no run to go on with.
    """
    directory = RunDirectory.open(Path(path))
    plan = directory.plan()
    if workers is not None:
        plan = plan.updated(engine={"workers": workers})
    ready = prepare(load_task(plan), plan)
    state = directory.restore(init_state(ready.task, plan), plan)
    return _run(ready, state, directory, progress, command, records=directory.rounds())


def _run(
    ready: Preparation,
    state: ServerState,
    directory: RunDirectory | None,
    progress: Callable[[Preparation], Progress] | None,
    command: str | None,
    *,
    records: list[dict[str, Any]],
) -> SimulationResult:
    before = len(records)
    memory = None if directory is None else directory.path / "checkpoint" / "memory"
    engine = build_engine(ready.task, ready.plan, ready.clients, ready.device, memory=memory)
    with engine, global_streams_kept(ready.device):
        tell = progress(ready) if progress else None
        started = time.monotonic()

        def on_round(record: RoundRecord, state: ServerState) -> None:
            records.append(record.to_json())
            if directory is not None:
                directory.record(record, state, ready.plan)
            if tell is not None:
                tell(record)

        run = Run(
            task=ready.task,
            plan=ready.plan,
            federation=engine,
            hooks=ready.hooks,
        )
        outcome = run.to_end(state, on_round)
        wall_seconds = time.monotonic() - started
    names = [client.name for client in ready.clients]
    finished = FinishedRun(
        task=ready.task,
        plan=ready.plan,
        outcome=outcome,
        engine=engine.name,
        examples=ready.examples,
        client_sizes=[len(client.training) for client in ready.clients],
        wall_seconds=wall_seconds,
        records=records,
        timed=records[before:],
        split=ready.split,
        verification=PROBED,
        privacy_warnings=warnings_of(each for each in ready.findings if not each.rule.of_rows),
        isolation=ready.isolation,
        command=command,
        took_part=took_part_in(ready.plan, names, records, always_there=True),
    )
    results = build_results(finished)
    if directory is not None:
        results.write(directory, rounds=None)
        shutil.rmtree(directory.path / "checkpoint" / "memory", ignore_errors=True)  # of no use to a finished run
    return _result(ready, outcome, results, records)


def _reference(task: Task) -> str:
    """The ``module:object`` of a task's class, so that the plan on disk names what was run."""
    return f"{type(task).__module__}:{type(task).__qualname__}"


def _result(ready: Preparation, outcome: Outcome, results: Results, records: list[dict[str, Any]]) -> SimulationResult:
    return SimulationResult(
        model=copy.deepcopy(results.model),
        metrics=dict(outcome.evaluation.metrics),
        privacy=results.privacy,
        audit=outcome.bias,
        summary=results.summary,
        rounds=tuple(records),
        plan=ready.plan,
        results=results,
    )
