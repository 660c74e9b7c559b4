"""What a round costs over the network: fedcore's server and clients against stock Flower, in one run.

Both sides run on loopback in processes of their own: clients train a model of the given size for next to
nothing and send it back. fedcore works as deployed: TLS, node keys, signed envelopes, SQLite, checkpoints.
Stock Flower 1.42 works without TLS, with its database in memory, and FedAvg. The sides take turns.

Run ``python simulations/benchmarks/deployment.py`` for a round of no work, with ``--megabytes 500 --rounds 2`` for a
large model, and with ``--clients 32 --only fedcore --rounds 4`` for many clients. Peak memory is that of the process
that drives the rounds (fedcore's run process, Flower's flwr-serverapp), and of all processes of one client together.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import tomli_w
from processes import (
    LOOK_SECONDS,
    START_SECONDS,
    clean_environment,
    free_port,
    listens,
    run_command,
    running,
    running_process,
    wait_for,
)

_ROUND_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Measured:
    """One side: seconds of its rounds, the first one left out, and peak memory in bytes."""

    seconds: list[float]
    driver: int
    client: int

    @property
    def median(self) -> float:
        """Median seconds of a round."""
        return statistics.median(self.seconds)


class Peaks:
    """Largest sum of memory of groups of processes, looked at ten times a second.

    What processes share, such as the pages of a library, is divided among them (Linux's proportional set size).
    """

    def __init__(self) -> None:
        self._groups: dict[str, Callable[[], list[psutil.Process]]] = {}
        self.bytes: dict[str, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def watch(self, name: str, processes: Callable[[], list[psutil.Process]]) -> None:
        """Look at these processes under a name."""
        self._groups[name] = processes

    def __enter__(self) -> Peaks:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            for name, processes in list(self._groups.items()):
                total = 0
                for process in processes():
                    with contextlib.suppress(psutil.Error):
                        total += process.memory_full_info().pss
                self.bytes[name] = max(self.bytes.get(name, 0), total)


def main() -> None:
    """Print seconds of a round and peak memory of both sides, and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="rounds of fedcore a turn; Flower makes a quarter")
    parser.add_argument("--megabytes", type=float, default=0.0, help="size of the model; 0 is four numbers")
    parser.add_argument("--clients", type=int, default=2, help="clients, each with two processes of fedcore's")
    parser.add_argument("--turns", type=int, default=1, help="how often the sides take turns")
    parser.add_argument("--only", choices=["fedcore", "flower"], help="measure one side alone")
    options = parser.parse_args()
    clients = [f"client-{index}" for index in range(options.clients)]
    size = max(4, int(options.megabytes * 1e6 / 4))
    found: dict[str, list[Measured]] = {"fedcore": [], "flower": []}
    for _ in range(options.turns):
        with tempfile.TemporaryDirectory() as directory:
            if options.only != "flower":
                found["fedcore"].append(_fedcore(Path(directory), clients, size, options.rounds))
            if options.only != "fedcore":
                found["flower"].append(_flower(Path(directory), clients, size, max(2, options.rounds // 4)))
    _report(found, size * 4)


def _report(found: dict[str, list[Measured]], model_bytes: int) -> None:
    medians = {}
    for side, measured in found.items():
        if not measured:
            continue
        seconds = [each for turn in measured for each in turn.seconds]
        medians[side] = statistics.median(seconds)
        driver = _size(max(turn.driver for turn in measured), model_bytes)
        client = _size(max(turn.client for turn in measured), model_bytes)
        print(
            f"{side:8} median {medians[side]:7.2f} s a round ({min(seconds):.2f} to {max(seconds):.2f}, "
            f"{len(seconds)} rounds); peak memory: driver {driver}, client {client}"
        )
    if len(medians) == 2:
        print(f"ratio    {medians['flower'] / medians['fedcore']:7.1f} x as many rounds in the same time as Flower")


def _size(num_bytes: int, model_bytes: int) -> str:
    """In megabytes, and in models where the model is not next to nothing."""
    times = f" ({num_bytes / model_bytes:.1f} x the model)" if model_bytes > 10_000_000 else ""
    return f"{num_bytes / 1e6:.0f} MB{times}"


def _fedcore(directory: Path, names: list[str], size: int, rounds: int) -> Measured:
    address, home = f"127.0.0.1:{free_port()}", directory / "federation"
    run_command(directory, "consortium", "init", "--name", "bench", "--server", address, "--home", str(home))
    policy = {
        "tasks": {"allowed": ["big_model:BigModel"], "options": {"big_model:BigModel": ["size"]}},
        "data": {"allowed": {"nothing": ["big_model:BigModel"]}},
        "privacy": {"required": False},
        "training": {"batch-size": [1, 4096]},
        "release": {"training": ["loss"], "evaluation": ["loss", "mae", "mse"], "min-examples": 1},
        "limits": {"model-megabytes": 4000.0},
    }
    for name in names:
        run_command(directory, "consortium", "invite", name, "--home", str(home))
        run_command(directory, "client", "join", f"invite-{name}.json", "--home", name)
        run_command(directory, "consortium", "admit", f"response-{name}.json", "--home", str(home), "--yes")
        (directory / name / "policy.toml").write_text(tomli_w.dumps(policy))
    plan = {
        "task": {"name": "big_model:BigModel", "data": "nothing", "options": {"size": size}},
        "federation": {
            "clients": len(names),
            "rounds": rounds + 1,
            "evaluate-every": rounds + 1,
            "quorum": len(names),
            "patience-seconds": _ROUND_SECONDS,
        },
        "training": {"device": "cpu", "learning-rate": 1e-3},
    }
    (directory / "plan.toml").write_text(tomli_w.dumps(plan))
    with contextlib.ExitStack() as stack, Peaks() as peaks:
        server = stack.enter_context(running(directory, "server", "start", "--home", str(home), "--bind", address))
        wait_for((home / "server.json").exists, "the server starts")
        clients = [
            stack.enter_context(
                running(directory, "client", "start", "--home", name, "--data", f"nothing={directory / name}")
            )
            for name in names
        ]
        peaks.watch("driver", lambda: _children(server, "fedcore_server.runs.process"))
        peaks.watch("client", lambda: [psutil.Process(clients[0].pid), *_children(clients[0], "")])
        run_command(directory, "run", "plan.toml", "--home", str(home), timeout=_ROUND_SECONDS * (rounds + 1))
        lines = (home / "runs" / "bigmodel-0001" / "rounds.jsonl").read_text().splitlines()
    seconds = [json.loads(line)["wall_seconds"] for line in lines][1:-1]  # the last one evaluates, too
    return Measured(seconds or [json.loads(lines[0])["wall_seconds"]], peaks.bytes["driver"], peaks.bytes["client"])


_SERVER_APP = """
import sys
import time

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


@app.main()
def main(grid: Grid, context) -> None:
    weights = np.random.default_rng(0).standard_normal(SIZE, dtype=np.float32)
    times = []

    def tick(server_round, arrays):
        times.append(time.monotonic())
        if len(times) > 1:
            print(f"ROUND {times[-1] - times[-2]:.4f}", file=open(LOG, "a"), flush=True)

    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=CLIENTS, min_available_nodes=CLIENTS)
    strategy.start(grid=grid, initial_arrays=ArrayRecord([weights]), num_rounds=ROUNDS, evaluate_fn=tick)
"""

_CLIENT_APP = """
from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    metrics = MetricRecord({"num-examples": 1})
    return Message(RecordDict({"arrays": message.content["arrays"], "metrics": metrics}), reply_to=message)
"""

_PYPROJECT = """
[project]
name = "benchmark"
version = "1.0.0"
description = "A round of no work"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "fedcore"

[tool.flwr.app.components]
serverapp = "bench_server:app"
clientapp = "bench_client:app"

[tool.flwr.app.config]
"""


def _flower(directory: Path, names: list[str], size: int, rounds: int) -> Measured:
    port, app, home, log = free_port(), directory / "app", directory / "flower-home", directory / "rounds.log"
    app.mkdir()
    home.mkdir()
    constants = f"SIZE, ROUNDS, LOG, CLIENTS = {size}, {rounds + 1}, {str(log)!r}, {len(names)}\n"
    (app / "bench_server.py").write_text(constants + _SERVER_APP)
    (app / "bench_client.py").write_text(_CLIENT_APP)
    (app / "pyproject.toml").write_text(_PYPROJECT)
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "bench"\n[superlink.bench]\naddress = "127.0.0.1:{port}"\ninsecure = true\n'
    )
    environment = clean_environment() | {"FLWR_HOME": str(home)}
    with contextlib.ExitStack() as stack, Peaks() as peaks:
        superlink = stack.enter_context(
            running_process(
                directory, environment, "flower-superlink", "--insecure", "--host=127.0.0.1", f"--port={port}"
            )
        )
        wait_for(lambda: listens(port), "the SuperLink starts")
        nodes = [
            stack.enter_context(
                running_process(
                    directory,
                    environment,
                    "flower-supernode",
                    "--insecure",
                    f"--superlink=127.0.0.1:{port}",
                    f"--port={free_port()}",
                )
            )
            for _ in names
        ]
        peaks.watch("driver", lambda: _children(superlink, "serverapp"))
        peaks.watch("client", lambda: [psutil.Process(nodes[0].pid), *_children(nodes[0], "")])
        flwr = Path(sys.executable).with_name("flwr")
        subprocess.run(
            [str(flwr), "run", str(app), "bench"],
            cwd=directory,
            env=environment,
            check=True,
            capture_output=True,
            timeout=START_SECONDS,
        )
        wait_for(
            lambda: log.exists() and len(log.read_text().splitlines()) >= rounds + 1,
            "Flower's rounds",
            seconds=_ROUND_SECONDS * (rounds + 1),
        )
        seconds = [float(found) for found in re.findall(r"ROUND ([\d.]+)", log.read_text())]
    return Measured(seconds[1:], peaks.bytes["driver"], peaks.bytes["client"])


def _children(parent: subprocess.Popen[bytes], named: str) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        found = psutil.Process(parent.pid).children(recursive=True)
        return [process for process in found if named in " ".join(process.cmdline())]
    return []


if __name__ == "__main__":
    main()
