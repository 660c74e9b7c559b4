"""`simulate`: a whole federation on one machine."""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from fedcore.audit.verdict.report import BiasReport
from fedcore.listeners import Beginning, Listeners, RunListener
from fedcore.method.method import Method
from fedcore.plan import RunPlan
from fedcore.plan.own_files import with_own_files
from fedcore.plugins import Reference, name_of
from fedcore.privacy.linter import DROWNED, Finding, warnings_of
from fedcore.seeding import global_streams_kept
from fedcore.task import Task, extras_of
from fedcore.tasks.registry import checked_task, load_task, settled
from fedcore.tracking.registry import load_trackers
from fedcore_server.rounds.driver import Outcome, Run
from fedcore_server.rounds.rounds import init_state
from fedcore_server.rounds.state import ServerState
from fedcore_server.runs.directory import RunDirectory
from fedcore_server.runs.participation import took_part_in
from fedcore_server.runs.results import FinishedRun, Results, build_results
from fedcore_simulations.dealt_clients import names_of, training_sizes_of
from fedcore_simulations.energy import EnergyMeter
from fedcore_simulations.engines.registry import build_engine
from fedcore_simulations.extension import Extension
from fedcore_simulations.keeping import Keeping
from fedcore_simulations.preparation import PROBED, Preparation, prepare
from fedcore_simulations.virtual_time.timed import timed


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
    listeners: Sequence[RunListener] = (),
    command: str | None = None,
) -> SimulationResult:
    """Train, protect and audit a federation of simulated clients.

    Args:
        task: A task, or the name of one as in a plan. The plan's own when absent.
        plan: A plan, or a mapping with its sections in kebab-case.
        out: Directory that is written round by round; without it nothing is written.
        listeners: Follow the run, besides the trackers that the plan names.
        command: The command line, kept in the summary.

    Raises:
        FedcoreError: See ``fedcore.errors``; nothing is written when preparation fails.
    """
    plan = plan if isinstance(plan, RunPlan) else RunPlan.from_mapping(plan or {})
    listeners = (*listeners, *load_trackers(plan))
    if task is not None:
        plan = plan.updated(task={"name": task if isinstance(task, str) else _reference(task)})
    plan = with_own_files(plan)
    if task is None or isinstance(task, str):
        plan = settled(plan)
        made = load_task(plan)
    else:
        made = checked_task(task, plan.task.name)
    ready = prepare(made, plan)
    directory = RunDirectory.create(Path(out), ready.plan) if out is not None else None
    return _run(ready, init_state(ready.task, ready.plan), directory, listeners, command, records=[])


def resume(
    path: Path | str,
    *,
    rounds: int | None = None,
    workers: int | None = None,
    engine: Reference | None = None,
    listeners: Sequence[RunListener] = (),
    command: str | None = None,
) -> SimulationResult:
    """Resume a run that was stopped, from its last committed round; or give a run more rounds than its plan had.

    Args:
        rounds: More than in the plan, for a run that may be finished; its results are replaced.
        workers: In the place of the plan's.
        engine: In the place of the plan's.

    Raises:
        RunDirectoryError: There is no run to resume.
        PlanError: The run cannot have more rounds, with the reasons.
    """
    extension = None if rounds is None else Extension.of(Path(path), rounds)
    directory = RunDirectory.open(Path(path)) if extension is None else RunDirectory(Path(path))
    plan = directory.plan() if extension is None else extension.plan
    given = {"workers": workers, "name": engine}
    plan = plan.updated(engine={key: value for key, value in given.items() if value is not None})
    listeners = (*listeners, *load_trackers(plan))
    ready = prepare(load_task(plan), plan)
    if extension is not None:
        extension.begin(init_state(ready.task, plan))
    state = directory.restore(init_state(ready.task, plan), plan)
    return _run(ready, state, directory, listeners, command, records=directory.rounds())


def _run(
    ready: Preparation,
    state: ServerState,
    directory: RunDirectory | None,
    listeners: Sequence[RunListener],
    command: str | None,
    *,
    records: list[dict[str, Any]],
) -> SimulationResult:
    followed = Listeners(listeners)
    with followed.following(ready.plan, _beginning(ready, directory, records)):
        outcome, results = _results(ready, state, directory, followed, command, records=records)
        if directory is not None:
            results.write(directory, rounds=None)
            shutil.rmtree(directory.path / "checkpoint" / "memory", ignore_errors=True)  # of no use to a finished run
    followed.finished(results.summary, directory.path if directory else None)
    return _result(ready, outcome, results, records)


def _results(
    ready: Preparation,
    state: ServerState,
    directory: RunDirectory | None,
    listeners: Listeners,
    command: str | None,
    *,
    records: list[dict[str, Any]],
) -> tuple[Outcome, Results]:
    """Train, evaluate and audit; `records` grows by a line each round."""
    before, keeping = len(records), Keeping(directory, ready.plan, records)
    memory = None if directory is None else directory.path / "checkpoint" / "memory"
    engine = build_engine(ready.engine.reference, ready.task, ready.plan, ready.clients, ready.device, memory=memory)
    meter = EnergyMeter(ready.device)
    with meter, engine, keeping, global_streams_kept(ready.device):
        started = time.monotonic()
        test = ready.test_set.metrics if ready.test_set else None
        run = Run(
            task=ready.task,
            plan=ready.plan,
            federation=engine,
            hooks=ready.hooks,
            listeners=listeners,
            test=test,
            next_round=timed(ready.plan, engine, ready.clients, state.parameters.buffer),
        )
        outcome = run.to_end(state, keeping.keep)
        wall_seconds = sum(line["wall_seconds"] for line in records[:before]) + time.monotonic() - started
    # Of the whole run or not at all: a cluster's processes are none of this one's, and a resumed run has others before.
    complete = not before and engine.name != "ray"
    names = names_of(ready.clients)
    finished = FinishedRun(
        task=ready.task,
        plan=ready.plan,
        outcome=outcome,
        engine=engine.name,
        examples=ready.examples,
        client_sizes=training_sizes_of(ready.clients),
        wall_seconds=wall_seconds,
        energy=meter.energy.to_json() if meter.energy and complete else {},
        records=records,
        split=ready.split,
        verification=PROBED,
        privacy_warnings=warnings_of(each for each in ready.findings if not each.rule.of_rows),
        isolation=ready.isolation,
        command=command,
        took_part=took_part_in(ready.plan, names, records, always_there=True),
    )
    return outcome, build_results(finished)


def _beginning(ready: Preparation, directory: RunDirectory | None, records: list[dict[str, Any]]) -> Beginning:
    return Beginning(
        run=directory.path.name if directory else ready.task.name,
        task=ready.task.name,
        clients=tuple(names_of(ready.clients)),
        lines=tuple(records),
        rows=ready.examples,
        device=str(ready.device),
        engine=name_of(ready.engine.reference),
        notes=(
            *extras_of(ready.task).notes,
            *Method.of(ready.plan).notes,
            *filter(None, [ready.device_note, ready.engine.note]),
        ),
        warnings=tuple(_warnings(ready.findings)),
    )


def _warnings(findings: Iterable[Finding]) -> Iterator[str]:
    """A short line for each, and once where to read the rest; in full only what makes the run worthless."""
    short = False
    for finding in findings:
        in_full = finding.rule is DROWNED
        yield f"warning: {finding.rule.id}: {finding.text if in_full else finding.where}"
        short = short or not in_full
    if short:
        yield "fedcore lint privacy PLAN says why, and what to do"


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
