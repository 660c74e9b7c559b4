"""A whole federation in processes of its own: set up in this one, and started by the documented commands."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tomli_w
from click.testing import Result
from typer.testing import CliRunner

from fedcore.cli import build_app
from fedcore.plan import RunPlan, merge
from fedcore_clients.agent.join import join
from fedcore_server.consortium.members import admit, init, invite
from fedcore_server.runs.deployable_plan import deployable
from fedcore_server.runs.store import RunStore
from fedcore_simulations.commands.split_run import write_division

CLIENTS = ["client-0", "client-1", "client-2"]
DATA_SETS = ["digits", "private"]
PRIVATE = {"unit": "record", "epsilon": 8.0, "sampling-rate": 1.0, "learning-rate": 1.0}
DIGITS: dict[str, dict[str, Any]] = {
    "task": {"name": "digits"},
    "federation": {"clients": 3, "rounds": 5, "round-timeout-seconds": 60.0, "patience-seconds": 60.0},
    "audit": {"sensitive": ["stroke"]},
    "training": {"device": "cpu"},
}
FEDCORE = (sys.executable, "-c", "import sys; from fedcore.cli import main; sys.exit(main())")
_PATIENCE_SECONDS = 90.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fedcore(
    *arguments: object, cwd: Path, check: bool = True, timeout: float = 120.0
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*FEDCORE, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment(),
        check=False,
    )
    assert not check or done.returncode == 0, f"fedcore {arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def command(*arguments: object) -> Result:
    """What ``fedcore`` does, in this process: for commands that read or change files and end."""
    return CliRunner().invoke(build_app(), [*map(str, arguments)])


def environment() -> dict[str, str]:
    root = Path(__file__).parents[2]
    paths = [root, root / "server", root / "clients", root / "simulations"]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"}


def wait_until(condition: Callable[[], Any], *, what: str, seconds: float = _PATIENCE_SECONDS) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {seconds:.0f} seconds")


class Deployment:
    """A consortium under one directory; `server` and `clients` hold the running processes.

    Every client may use its rows under two names, so that what one plan spends is not on the account of another.
    """

    def __init__(self, root: Path, clients: list[str]) -> None:
        self.root, self.names, self.port = root, clients, free_port()
        self.home = root / "federation"
        self.address = f"127.0.0.1:{self.port}"
        self.server: subprocess.Popen[str] | None = None
        self.clients: dict[str, subprocess.Popen[str]] = {}
        self.written = 0

    def found(self, policy: Mapping[str, Any]) -> None:
        init(self.home, "demo", self.address)
        for name in self.names:
            self.join(name, policy)

    def join(self, name: str, policy: Mapping[str, Any]) -> None:
        invitation = self.root / f"invite-{name}.json"
        invite(self.home, name, out=invitation)
        admit(self.home, join(invitation, self.root / name))
        (self.root / name / "policy.toml").write_text(tomli_w.dumps(dict(policy)))

    def start_server(self, *options: str) -> None:
        self.server = self._start("server", "server", "start", "--home", self.home, "--bind", self.address, *options)
        wait_until(self._serves, what="the server starts")

    def start_client(self, name: str) -> None:
        data = (f"--data={each}={self.rows(name, each)}" for each in DATA_SETS)
        self.clients[name] = self._start(name, "client", "start", "--home", name, *data)

    def start_clients(self) -> None:
        for name in self.names:
            self.start_client(name)

    def rows(self, client: str, data_set: str) -> Path:
        """The file that holds a client's rows under one of their two names."""
        written = self.root / "parts" / f"{client}.rows.safetensors"
        copied = written.with_name(f"{client}-{data_set}.rows.safetensors")
        if not copied.exists():
            shutil.copy(written, copied)
        return copied

    def is_connected(self, name: str) -> bool:
        assert self.clients[name].poll() is None, self.log(name)[-2000:]
        status = self.client_status(name)
        return bool(status.get("connected")) and status["pid"] == self.clients[name].pid

    def client_status(self, name: str) -> dict[str, Any]:
        path = self.root / name / "status.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def heal(self) -> None:
        """Have everything run that a test before may have ended, and nothing in work."""
        if self.server is None or self.server.poll() is not None:
            self.start_server()
        for name in self.names:
            if name not in self.clients or self.clients[name].poll() is not None:
                self.start_client(name)
        store = RunStore(self.home / "runs")
        for run in store.names():
            if not store.status(run).state.ended:
                store.request_stop(run)
                wait_until(lambda run=run: store.status(run).state.ended, what=f"run {run} ends")
        for name in self.names:
            wait_until(lambda name=name: self.is_connected(name), what=f"{name} connects")

    def plan(self, *layers: Mapping[str, Any]) -> Path:
        """A plan for the clients' rows: layers over each other, and what a server cannot derive by itself."""
        resolved = RunPlan.from_toml(self.root / "parts" / "plan.toml")
        mapping: dict[str, Any] = {"audit": {"vocabularies": resolved.audit.vocabularies}}
        for layer in layers:
            mapping = merge(mapping, layer)
        if "privacy" in mapping and mapping["privacy"]["unit"] == "record":
            rows = (resolved.privacy.nominal_batch or 0.0) / resolved.privacy.sampling_rate
            mapping["privacy"] = {**mapping["privacy"], "nominal-batch": mapping["privacy"]["sampling-rate"] * rows}
        self.written += 1
        path = self.root / f"plan-{self.written}.toml"
        path.write_text(RunPlan.from_mapping(mapping).to_toml())
        return path

    def submit(self, *layers: Mapping[str, Any]) -> str:
        """What ``fedcore run PLAN --detach`` does, without a new process that imports torch first; the run's name."""
        return RunStore(self.home / "runs").submit(deployable(RunPlan.from_toml(self.plan(*layers))))

    def wait_for_end(self, run: str, *, seconds: float = 120.0) -> str:
        store = RunStore(self.home / "runs")
        wait_until(lambda: store.status(run).state.ended, what=f"run {run} ends", seconds=seconds)
        return str(store.status(run).state)

    def wait_for_rounds(self, run: str, number: int, *, seconds: float = _PATIENCE_SECONDS) -> None:
        wait_until(lambda: self.committed(run) >= number, what=f"{number} rounds of {run}", seconds=seconds)

    def run(self, plan: Path, *options: str, timeout: float = 240.0) -> subprocess.CompletedProcess[str]:
        return fedcore("run", plan, "--home", self.home, *options, cwd=self.root, check=False, timeout=timeout)

    def status(self, run: str) -> dict[str, Any]:
        return dict(json.loads((self.home / "runs" / run / "status.json").read_text()))

    def rounds(self, run: str) -> list[dict[str, Any]]:
        path = self.home / "runs" / run / "rounds.jsonl"
        return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]] if path.exists() else []

    def committed(self, run: str) -> int:
        return sum(1 for line in self.rounds(run) if line["committed"])

    def summary(self, run: str) -> dict[str, Any]:
        return dict(json.loads((self.home / "runs" / run / "summary.json").read_text()))

    def log(self, name: str) -> str:
        return (self.root / f"{name}.log").read_text()

    def process(self, name: str) -> subprocess.Popen[str]:
        process = self.server if name == "server" else self.clients[name]
        assert process is not None
        return process

    def kill(self, name: str) -> None:
        self.process(name).kill()
        self.process(name).wait()

    def children(self, name: str) -> list[int]:
        pid = self.process(name).pid
        found: list[int] = []
        for task in Path(f"/proc/{pid}/task").iterdir():  # a thread's children are listed under the thread
            found += [int(child) for child in (task / "children").read_text().split()]
        return found

    def stop(self) -> None:
        processes = [*self.clients.values(), *([self.server] if self.server else [])]
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
            process.kill()
            process.wait()

    def _serves(self) -> bool:
        assert self.server is not None
        assert self.server.poll() is None, self.log("server")
        path = self.home / "server.json"
        return path.exists() and json.loads(path.read_text())["pid"] == self.server.pid

    def _start(self, name: str, *arguments: object) -> subprocess.Popen[str]:
        with (self.root / f"{name}.log").open("a") as log:
            return subprocess.Popen(
                [*FEDCORE, *map(str, arguments)],
                cwd=self.root,
                stdout=log,
                stderr=log,
                text=True,
                env=environment(),
            )


@contextlib.contextmanager
def deployed(root: Path, clients: list[str], policy: Mapping[str, Any]) -> Iterator[Deployment]:
    deployment = Deployment(root, clients)
    try:
        deployment.found(policy)
        yield deployment
    finally:
        deployment.stop()


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def repeatable(**sections: Mapping[str, Any]) -> dict[str, Any]:
    """DP-SGD with batches and noise from the seed: the same numbers wherever it runs."""
    return merge({**DIGITS, "privacy": {**PRIVATE, "sampling-rate": 0.5, "noise": "test"}}, sections)


def digits_policy(**sections: Mapping[str, Any]) -> dict[str, Any]:
    """What the documentation tells the owner of digits to allow."""
    policy: dict[str, Any] = {
        "tasks": {"allowed": ["digits"]},
        "data": {"allowed": {"digits": ["digits"], "private": ["digits"]}},
        "release": {"evaluation": ["loss", "accuracy"], "group-tables": ["stroke"]},
    }
    return merge(policy, sections)


def open_policy(**sections: Mapping[str, Any]) -> dict[str, Any]:
    """As above, for plans without privacy, or with noise that can be repeated."""
    privacy, release = {"required": False, "allow-test-noise": True}, {"training": ["loss"], "ledger-receipts": True}
    return merge(digits_policy(privacy=privacy, release=release, training={"memory": True}), sections)


def split_rows(root: Path) -> None:
    """The clients' files, and the resolved plan, under ``parts/``."""
    write_division(RunPlan.from_mapping(repeatable()), root / "parts")
