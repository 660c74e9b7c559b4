"""A server's home with one run in it, driven by the real driver in a forked process that can be killed anywhere."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from flwr.app import Context

from fedcore.plan import RunPlan
from fedcore.report import page as report
from fedcore.trust.identity import COORDINATOR, Identity
from fedcore_clients.training.local_model import Client
from fedcore_server.consortium.members import admit, init, invite
from fedcore_server.runs import process as run_process
from fedcore_server.runs.deployable_plan import deployable
from fedcore_server.runs.process import SuperLinkAccess
from fedcore_server.runs.store import RunState, RunStatus, RunStore
from fedcore_server.service.home import ServerHome
from fedcore_simulations.preparation import prepare
from simulations.benchmarks.client_app import build_client_app
from tests.builders import TinyTask, build_plan
from tests.flower.in_memory_grid import Consortium, InMemoryGrid
from tests.trust.builders import build_response

KILLED = 77
SLOW_TO_IMPORT = (report,)  # before a process is forked
NAMES = ("client-0", "client-1", "client-2")

MOMENTUM = {"name": "sgd", "momentum": 0.5}


class Served:
    """One run of a tiny task, with clients that answer at once.

    Attributes:
        make_grid: Given the ClientApp and the consortium.
    """

    def __init__(self, root: Path, plan: RunPlan | None = None) -> None:
        self.path = root / "federation"
        init(self.path, "heart", "localhost:9092")
        identities = {name: Identity.create(name) for name in NAMES}
        for name, identity in identities.items():
            admit(self.path, build_response(invite(self.path, name), identity=identity))
        self.home = ServerHome(self.path)
        coordinator = self.home.consortium.coordinator()
        assert coordinator.name == COORDINATOR
        self.consortium = Consortium(coordinator, identities, self.home.consortium.roster())
        self.store = RunStore(self.home.runs)
        _clients()  # for the same reason
        self.name = self.store.submit(deployable(plan or tiny_plan()))
        self.directory = self.home.runs / self.name
        self.make_grid: Callable[..., InMemoryGrid] = InMemoryGrid

    @property
    def status(self) -> RunStatus:
        return self.store.status(self.name)

    def rounds(self) -> list[dict[str, Any]]:
        return [dict(line) for line in self.store.rounds(self.name)]

    def model(self) -> bytes:
        return (self.directory / "model.safetensors").read_bytes()

    def leftovers(self) -> list[str]:
        """Files that nobody should find, anywhere in the home."""
        return [str(path.relative_to(self.path)) for path in self.path.rglob(".*")]

    def drive(self, sabotage: Callable[[], None] = lambda: None) -> int:
        """Start the driver once, in a process of its own; its exit code.

        Args:
            sabotage: Called in the process before the driver.
        """
        if self.status.state.ended and self.status.state != RunState.FINISHED:
            self.store.queue_again(self.name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the child's only thread is the one that forks
            pid = os.fork()
        if pid == 0:
            os._exit(self._as_driver(sabotage))
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def _as_driver(self, sabotage: Callable[[], None]) -> int:
        try:
            torch.set_num_threads(1)
            self._connect_to_nothing()
            access = SuperLinkAccess(runtime_address="", secret=b"", bearer="")
            sys.stdin = io.StringIO(access.to_json() + "\n")
            sabotage()
            return run_process.main([str(self.path), self.name])
        except BaseException:
            traceback.print_exc()
            return 1

    def _connect_to_nothing(self) -> None:
        """Stand in for the SuperLink; this process is the driver's alone, so that nothing is put back."""
        module: Any = run_process
        module.Control = _NoControl
        module.open_grid = self._grid
        module._end_with_parent = lambda: None

    @contextlib.contextmanager
    def _grid(self, *_: Any) -> Iterator[InMemoryGrid]:
        def name_of(context: Context) -> str:
            return str(context.node_config["name"])

        app = build_client_app(TinyTask(), allow_test_noise=True, load=lambda context, _: _clients()[name_of(context)])
        yield self.make_grid(app, self.consortium)


@cache
def _clients() -> dict[str, Client]:
    return {client.name: client for client in prepare(TinyTask(), tiny_plan()).clients}


class _NoControl:
    def __init__(self, *_: Any) -> None:
        return

    def __enter__(self) -> _NoControl:
        return self

    def __exit__(self, *_: Any) -> None:
        return

    def start_run(self) -> int:
        return 1

    def stop_run(self, run: int) -> None:
        return


def tiny_plan(**federation: Any) -> RunPlan:
    plan = build_plan(
        task={"name": "tests.builders:TinyTask"},
        federation={"clients": 3, "rounds": 3, "patience_seconds": 0.0, "server_optimizer": MOMENTUM, **federation},
        audit={"sensitive": ["sex"]},
    )
    return plan.updated(audit={"vocabularies": {"sex": ["female", "male", "unknown"]}})


def assert_committed_once_each(served: Served, rounds: int = 3) -> None:
    lines = served.rounds()
    assert [line["round"] for line in lines if line["committed"]] == list(range(1, rounds + 1))
    for line in lines:
        assert len(set(line["counted"])) == len(line["counted"])
    assert json.loads((served.directory / "summary.json").read_text())["rounds"] == rounds
