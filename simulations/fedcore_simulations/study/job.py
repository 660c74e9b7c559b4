"""One run after another, in a process of its own."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from fedcore.errors import FedcoreError, RunPausedError
from fedcore.storage.parent_watch import end_with_parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a process needs to make a run; everything in it is plain.

    Attributes:
        plan: As `RunPlan.to_mapping`.
        workers: Worker processes of the engine; 0 is one for each core.
        log: File for what the task and libraries print.
        command: The command that makes the same run by hand.
    """

    name: str
    directory: str
    plan: Mapping[str, Any]
    workers: int
    log: str
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A round of a run was closed."""

    name: str
    round: int
    rounds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a run ended.

    Attributes:
        summary: The content of ``summary.json``; None where it did not finish.
        paused: Whether it can be resumed as it is: no quorum, or a loss far above its start.
        failure: Why it did not finish.
    """

    name: str
    summary: Mapping[str, Any] | None = None
    paused: bool = False
    failure: str = ""


class _Reporting:
    """A listener that sends each round to the parent."""

    name = "sweep"

    def __init__(self, job: str, parent: Connection) -> None:
        self._job, self._parent, self._rounds = job, parent, 0

    def run_begins(self, plan: Any, beginning: Any) -> None:
        self._rounds = plan.federation.rounds
        done = beginning.lines[-1]["round"] if beginning.lines else 0
        self._parent.send(Progress(name=self._job, round=done, rounds=self._rounds))

    def round_closed(self, line: Mapping[str, Any]) -> None:
        self._parent.send(Progress(name=self._job, round=line["round"], rounds=self._rounds))

    def run_ends(self, ending: Any) -> None:
        pass


def work(parent: Connection, one_thread: bool) -> None:
    """A process's life: make runs until the pipe closes or it is asked to stop.

    Args:
        one_thread: Whether other processes compute at the same time. Training uses one thread anyway.
    """
    if one_thread:
        os.environ["OMP_NUM_THREADS"] = "1"  # before PyTorch is imported
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a run then stores its last round
    end_with_parent()
    try:
        while True:
            job: Job = parent.recv()
            parent.send(_ended(job, parent))
    except (KeyboardInterrupt, EOFError, BrokenPipeError):
        return


def _ended(job: Job, parent: Connection) -> Ended:
    _print_to(Path(job.log))
    try:
        return Ended(name=job.name, summary=_summary(job, parent))
    except RunPausedError as error:
        return Ended(name=job.name, paused=True, failure=str(error))
    except FedcoreError as error:
        return Ended(name=job.name, failure=str(error))
    except Exception as error:
        traceback.print_exc()
        return Ended(name=job.name, failure=f"{type(error).__name__}: {error}; the traceback is in {job.log}")


def _summary(job: Job, parent: Connection) -> Mapping[str, Any]:
    from fedcore.plan import RunPlan
    from fedcore_simulations.runner import resume, simulate
    from fedcore_simulations.study.directory import clear_stub, has_rounds

    directory, listeners = Path(job.directory), [_Reporting(job.name, parent)]
    if has_rounds(directory):
        return resume(directory, workers=job.workers, listeners=listeners, command=job.command).summary
    clear_stub(directory)
    plan = RunPlan.from_mapping(job.plan).updated(engine={"workers": job.workers})
    return simulate(None, plan, out=directory, listeners=listeners, command=job.command).summary


def _print_to(log: Path) -> None:
    """Send what is printed to a file: the terminal shows the progress of all runs."""
    log.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
