"""The process that drives one incarnation of one run: started by the server, and gone with it.

Whatever ends it, the run can be resumed: rounds are committed to disk one by one, and the incarnation is
counted, on disk, before the first message of it is sent.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from fedcore.errors import DeploymentError, FedcoreError, RunDirectoryError, RunPausedError, StorageError, TaskError
from fedcore.listeners import Beginning, Listeners
from fedcore.messages import TrainRequest
from fedcore.plan import RunPlan
from fedcore.privacy.linter import warnings_of
from fedcore.storage.events import EventLog
from fedcore.storage.files import remove_leftovers
from fedcore.storage.parent_watch import end_with_parent
from fedcore.task import Task
from fedcore.task_code import differing_code
from fedcore.tasks.registry import load_task
from fedcore.tracking.registry import load_trackers
from fedcore.trust.roster import Roster
from fedcore_server.evaluation.fixed_test_set import fixed_test_set_of
from fedcore_server.flower.correspondence import Correspondence
from fedcore_server.flower.grid_federation import ArrivingGrid, GridFederation
from fedcore_server.flower.superlink.control import Control
from fedcore_server.flower.superlink.task import open_grid
from fedcore_server.rounds.driver import Outcome, Run
from fedcore_server.rounds.plan_hooks import load_hooks
from fedcore_server.rounds.round_record import RoundRecord
from fedcore_server.rounds.rounds import init_state
from fedcore_server.rounds.state import ServerState
from fedcore_server.runs.deployable_plan import isolation_known, privacy_findings
from fedcore_server.runs.directory import RunDirectory
from fedcore_server.runs.participation import charges_acknowledged, last_receipts, took_part_in
from fedcore_server.runs.place import is_finished
from fedcore_server.runs.results import FinishedRun, build_results
from fedcore_server.runs.round_events import RoundEvents
from fedcore_server.runs.store import RunState, RunStore
from fedcore_server.service.home import ServerHome

_log = logging.getLogger("fedcore")

_VERIFIED = (
    "fedcore's clients check the model's layers and per-record gradients before their first step, "
    "on made-up rows where the task takes them; that they did cannot be verified by the server"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SuperLinkAccess:
    """How the driver reaches the server's SuperLink; passed through a pipe, never on a command line."""

    runtime_address: str
    secret: bytes
    bearer: str

    @classmethod
    def from_json(cls, text: str) -> SuperLinkAccess:
        """Read what `to_json` wrote."""
        values = json.loads(text)
        return cls(
            runtime_address=values["runtime_address"], secret=bytes.fromhex(values["secret"]), bearer=values["bearer"]
        )

    def to_json(self) -> str:
        """One line."""
        return json.dumps({"runtime_address": self.runtime_address, "secret": self.secret.hex(), "bearer": self.bearer})


class RunProcess:
    """One incarnation of a run."""

    def __init__(self, home: ServerHome, name: str, access: SuperLinkAccess) -> None:
        self._home, self._name, self._access = home, name, access
        self._store = RunStore(home.runs)
        self._directory = RunDirectory.open(home.runs / name)
        self._plan: RunPlan = self._directory.plan()
        self._events = EventLog(self._directory.path / "events.jsonl")

    def run(self) -> None:
        """Drive the run to its end, and write what it leaves behind.

        Raises:
            FedcoreError: Why it did not come to its end.
        """
        before = self._store.status(self._name)
        status = self._store.change(self._name, state=RunState.RUNNING, incarnation=before.incarnation + 1, reason="")
        self._events.append(
            "driver-started",
            run=self._identity,
            incarnation=status.incarnation,
            plan_sha256=self._plan.sha256,
        )
        if differs := differing_code(self._plan):  # changed since it was submitted
            raise TaskError(f"the task is not what the run began with: {differs}")
        task, trackers = load_task(self._plan), load_trackers(self._plan)
        started = time.monotonic()
        with Control(self._access.runtime_address, self._access.bearer) as control:
            if before.flower_run is not None:
                with suppress(DeploymentError):  # its database may be a new one
                    control.stop_run(before.flower_run)
            flower_run = control.start_run()
            self._store.change(self._name, flower_run=flower_run)
        listeners = Listeners((RoundEvents(self._events), *trackers))
        with ExitStack() as stack:
            outcome = self._drive(task, status.incarnation, flower_run, listeners, stack)
            summary = self._write_results(task, outcome, time.monotonic() - started)
        listeners.finished(summary, self._directory.path)
        self._store.change(self._name, state=RunState.FINISHED, reason="")

    @property
    def _identity(self) -> str:
        """By which clients know the run: no other of its name has the token."""
        return f"{self._name}.{self._store.status(self._name).token}"

    def _first_state(self, task: Task) -> ServerState:
        state = self._directory.enter(init_state(task, self._plan), self._plan)
        self._events.append("from-checkpoint", round=state.round, attempt=state.attempt)
        return state

    def _beginning(self, task: Task) -> Beginning:
        return Beginning(
            run=self._name,
            task=task.name,
            clients=tuple(member.name for member in self._home.consortium.roster().members),
            lines=tuple(self._directory.rounds()),
        )

    def _drive(self, task: Task, incarnation: int, flower_run: int, listeners: Listeners, stack: ExitStack) -> Outcome:
        """Run all rounds; the listeners follow on `stack`, until the results are written."""
        consortium = self._home.consortium
        letters = Correspondence(
            consortium.coordinator(),
            _Rereading(consortium.roster_file, consortium.roster),
            run=self._identity,
            incarnation=incarnation,
            events=self._events,
        )
        access, tests = self._access, fixed_test_set_of(task, self._plan, torch.device("cpu"))
        with open_grid(access.runtime_address, access.secret, access.bearer, flower_run) as grid:
            run = Run(
                task=task,
                plan=self._plan,
                federation=GridFederation(cast(ArrivingGrid, grid), self._plan, letters),
                hooks=load_hooks(self._plan),
                listeners=listeners,
                on_request=self._note,
                test=tests.metrics if tests else None,
            )
            state = self._first_state(task)
            stack.enter_context(listeners.following(self._plan, self._beginning(task)))
            return run.to_end(state, self._keep)

    def _note(self, request: TrainRequest) -> None:
        self._events.append("round-asked", round=request.round, attempt=request.attempt, asked=list(request.cohort))

    def _keep(self, record: RoundRecord, state: ServerState) -> None:
        self._directory.record([record], state, self._plan)
        if record.report.committed:
            self._store.change(self._name, crashes=0)

    def _write_results(self, task: Task, outcome: Outcome, wall_seconds: float) -> Mapping[str, Any]:
        rounds = self._directory.rounds()
        registered = [member.name for member in self._home.consortium.roster().members]
        sizes = {name: rows for line in rounds for name, rows in line["examples"].items()}
        held_out = sum(int(client["n"]) for client in outcome.evaluation.clients.values())
        run = FinishedRun(
            task=task,
            plan=self._plan,
            outcome=outcome,
            engine="flower",
            examples=None if outcome.evaluation.sampled else sum(sizes.values()) + held_out,
            client_sizes=[sizes[name] for name in sorted(sizes)],
            wall_seconds=max(wall_seconds, sum(line["wall_seconds"] for line in rounds)),  # a restarted driver's, too
            records=rounds,
            split=None,
            verification=_VERIFIED,
            privacy_warnings=warnings_of(privacy_findings(task, self._plan)),
            command=f"fedcore run, as {self._name}",
            took_part=took_part_in(self._plan, registered, rounds, always_there=False),
            ledgers=last_receipts(rounds),
            acknowledged=charges_acknowledged(rounds),
            isolation=isolation_known(task, self._plan),
        )
        results = build_results(run)
        results.write(self._directory, rounds=None)
        return results.summary


class _Rereading:
    """The roster, read again when its file changes."""

    def __init__(self, path: Path, read: Callable[[], Roster]) -> None:
        self._path, self._read = path, read
        self._seen: tuple[int, int] | None = None
        self._roster: Roster | None = None

    def __call__(self) -> Roster:
        stat = self._path.stat()
        if self._roster is None or self._seen != (stat.st_mtime_ns, stat.st_ino):
            self._roster, self._seen = self._read(), (stat.st_mtime_ns, stat.st_ino)
        return self._roster


def main(arguments: list[str]) -> int:
    """Drive a run; the access to the SuperLink comes on standard input."""
    home, name = ServerHome(Path(arguments[0])), arguments[1]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for noisy in ("flwr", "httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    access = SuperLinkAccess.from_json(sys.stdin.readline())
    end_with_parent()
    try:
        if not is_finished(home.runs / name):
            RunProcess(home, name, access).run()
            return 0
        remove_leftovers(home.runs / name)
        state, reason = RunState.FINISHED, ""  # killed between the last file and the last word about it
    except KeyboardInterrupt:
        stopped = RunStore(home.runs).stop_requested(name)
        state = RunState.STOPPED if stopped else RunState.QUEUED
        reason = "stopped by an operator" if stopped else "the server was stopped"
    except (RunPausedError, StorageError) as error:
        tried_again = not isinstance(error, RunDirectoryError)  # what is damaged stays so
        state, reason = RunState.PAUSED if tried_again else RunState.FAILED, str(error)
    except DeploymentError as error:
        _log.warning("%s", error)
        return 1  # the server decides whether to try again
    except FedcoreError as error:
        state, reason = RunState.FAILED, str(error)
    return _ended(RunStore(home.runs), name, state, reason)


def _ended(store: RunStore, name: str, state: RunState, reason: str) -> int:
    _log.warning("run %s is %s: %s", name, state, reason)
    try:
        store.change(name, state=state, reason=reason[:1000])
    except StorageError as error:
        _log.warning("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
