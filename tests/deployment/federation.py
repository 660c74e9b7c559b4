"""A whole federation in processes of its own, started by the commands that the documentation gives."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tomli_w

from fedcore.plan import RunPlan, read_toml

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
    """A consortium under one directory; `server` and `clients` hold the running processes."""

    def __init__(self, root: Path, clients: list[str]) -> None:
        self.root, self.names, self.port = root, clients, free_port()
        self.home = root / "federation"
        self.address = f"127.0.0.1:{self.port}"
        self.server: subprocess.Popen[str] | None = None
        self.clients: dict[str, subprocess.Popen[str]] = {}
        self.data: dict[str, str] = {}

    def found(self, policy: Mapping[str, Any]) -> None:
        fedcore("consortium", "init", "--name", "demo", "--server", self.address, "--home", self.home, cwd=self.root)
        for name in self.names:
            self.join(name, policy)

    def join(self, name: str, policy: Mapping[str, Any]) -> None:
        fedcore("consortium", "invite", name, "--home", self.home, cwd=self.root)
        fedcore("client", "join", f"invite-{name}.json", "--home", name, cwd=self.root)
        fedcore("consortium", "admit", f"response-{name}.json", "--home", self.home, "--yes", cwd=self.root)
        (self.root / name / "policy.toml").write_text(tomli_w.dumps(dict(policy)))

    def start_server(self, *options: str) -> None:
        self.server = self._start("server", "server", "start", "--home", self.home, "--bind", self.address, *options)
        wait_until(lambda: "is served at" in self.log("server"), what="the server starts")

    def start_client(self, name: str, *data: str) -> None:
        self.clients[name] = self._start(name, "client", "start", "--home", name, *(f"--data={each}" for each in data))
        self.data[name] = " ".join(data)

    def start_clients(self, task: str) -> None:
        for name in self.names:
            self.start_client(name, f"{task}=parts/{name}.rows.safetensors")

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

    def kill(self, name: str) -> None:
        process = self.server if name == "server" else self.clients[name]
        assert process is not None
        process.kill()
        process.wait()

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


def digits_policy(**sections: Mapping[str, Any]) -> dict[str, Any]:
    """What the documentation tells the owner of digits to allow."""
    policy: dict[str, dict[str, Any]] = {
        "tasks": {"allowed": ["digits"]},
        "data": {"allowed": {"digits": ["digits"]}},
        "release": {"evaluation": ["loss", "accuracy"], "group-tables": ["stroke"]},
    }
    for name, section in sections.items():
        policy[name] = {**policy.get(name, {}), **section}
    return policy


def open_policy(**sections: Mapping[str, Any]) -> dict[str, Any]:
    """As above, for plans without privacy, or with noise that can be repeated."""
    return digits_policy(
        privacy={"required": False, "allow-test-noise": True},
        release={"training": ["loss"], **digits_policy()["release"]},
        **sections,
    )


def split_plan(root: Path, mapping: Mapping[str, Any]) -> Path:
    """``fedcore split``: the clients' files and the resolved plan under ``parts/``."""
    written = root / "plan.toml"
    written.write_text(tomli_w.dumps(RunPlan.from_mapping(mapping).to_mapping()))
    fedcore("split", written, "--out", "parts", cwd=root)
    return root / "parts" / "plan.toml"


def change_plan(path: Path, **sections: Mapping[str, Any]) -> Path:
    plan = RunPlan.from_mapping(read_toml(path)).updated(**sections)
    path.write_text(plan.to_toml())
    return path
