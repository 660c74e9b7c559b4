"""How many clients one server holds: light clients on a roster, over TLS, and a server in a process of its own.

Run ``python simulations/benchmarks/server_load.py --clients 50,200,500``. For each number of clients it prints
percentiles of the time that a question for work (pull) and a heartbeat take while no run is on, failed heartbeats, and
the server's share of a core and its memory. Then the server is killed and started again: how long until every client
has had an answer. Then rounds of a model of four numbers, each with an evaluation.

The light clients share a process, and the machine with the server: what they wait for each other is in the times.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import tomli_w
from big_model import BigModel
from client_app import build_client_app
from flwr.app import Context
from flwr.supernode.fleet_http_client import FleetHttpClient
from light_client import LightClient
from processes import free_port, run_command, running, wait_for

from fedcore.plan import RunPlan
from fedcore_clients.agent.home import ClientHome
from fedcore_clients.agent.join import join
from fedcore_clients.training.local_model import Client
from fedcore_clients.training.owner_data import load_client
from fedcore_server.consortium.members import admit, init, invite

_CONNECT_SECONDS = 600.0
_SETTLE_SECONDS = 15.0
_DOWN_SECONDS = 3.0


def main() -> None:
    """Print what each number of clients meets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", default="50,200,500", help="numbers of clients, one after the other")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to look at clients that are idle")
    parser.add_argument("--rounds", type=int, default=2, help="rounds to train at the end; 0 for none")
    options = parser.parse_args()
    for number in map(int, options.clients.split(",")):
        with tempfile.TemporaryDirectory() as directory:
            _measure(Path(directory), number, options.seconds, options.rounds)


@dataclass(slots=True)
class Calls:
    """Seconds of one kind of call, and how many failed."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0

    def clear(self) -> None:
        """Begin anew."""
        self.seconds, self.failed = [], 0

    def __str__(self) -> str:
        if not self.seconds:
            return "none"
        p50, p95, p99 = np.percentile(self.seconds, [50, 95, 99])
        return f"{len(self.seconds)}, p50 {p50:.3f} s, p95 {p95:.3f} s, p99 {p99:.3f} s, {self.failed} failed"


@contextlib.contextmanager
def _watched(name: str) -> Iterator[Calls]:
    """Time a call of Flower's client, in all threads."""
    calls, original = Calls(), getattr(FleetHttpClient, name)

    def timed(self: Any, request: Any) -> Any:
        started = time.monotonic()
        try:
            return original(self, request)
        except httpx.HTTPError:
            calls.failed += 1
            raise
        finally:
            calls.seconds.append(time.monotonic() - started)

    setattr(FleetHttpClient, name, timed)
    try:
        yield calls
    finally:
        setattr(FleetHttpClient, name, original)


def _measure(directory: Path, number: int, seconds: float, rounds: int) -> None:
    address, home = f"127.0.0.1:{free_port()}", directory / "federation"
    clients = _consortium(home, address, number)
    start = ("server", "start", "--home", str(home), "--bind", address)
    with contextlib.ExitStack() as stack:
        pulls, beats = stack.enter_context(_watched("PullMessages")), stack.enter_context(_watched("SendNodeHeartbeat"))
        with running(directory, *start) as server:
            wait_for((home / "server.json").exists, "the server starts")
            stack.callback(_end, clients)
            began = time.monotonic()
            for client in clients:
                client.start()
            _all_answered(clients, since=0.0)
            for client in clients:
                client.lost = 0  # who came before the server had taken over the roster
            print(f"{number} clients: all connected after {time.monotonic() - began:.1f} s")
            time.sleep(_SETTLE_SECONDS)
            _idle(server.pid, pulls, beats, seconds)
            server.send_signal(signal.SIGKILL)
            server.wait()
        time.sleep(_DOWN_SECONDS)
        (home / "server.json").unlink()
        beats.clear()
        began = time.monotonic()
        with running(directory, *start):
            wait_for((home / "server.json").exists, "the server starts again")
            up = time.monotonic()
            _all_answered(clients, since=up)
            print(
                f"  killed; up again after {up - began:.1f} s; {time.monotonic() - up:.1f} s later all had an answer, "
                f"{sum(client.lost for client in clients)} connected anew, {beats.failed} heartbeats failed"
            )
            if rounds:
                _rounds(directory, home, number, rounds)


def _consortium(home: Path, address: str, number: int) -> list[LightClient]:
    init(home, "load", address)
    app = build_client_app(BigModel(), load=_rows)
    clients = []
    for index in range(number):
        name, invitation = f"client-{index:04d}", home.parent / "invitation.json"
        invite(home, name, out=invitation)
        at = ClientHome(home.parent / name)
        admit(home, join(invitation, at.path))
        invitation.unlink()
        clients.append(
            LightClient(
                server=address,
                authority=at.authority_certificate,
                flower_key=at.flower_key,
                identity=at.identity(),
                coordinator=at.coordinator(),
                app=app,
                members=number,
            )
        )
    return clients


def _rows(context: Context, plan: RunPlan) -> Client:
    return load_client(BigModel(), plan, str(context.node_config["name"]), None, secret=0)


def _end(clients: list[LightClient]) -> None:
    for client in clients:
        client.stop()
    for client in clients:
        client.join()


def _all_answered(clients: list[LightClient], *, since: float) -> None:
    wait_for(
        lambda: all(client.asked_at > since for client in clients), "every client is answered", seconds=_CONNECT_SECONDS
    )


def _idle(server: int, pulls: Calls, beats: Calls, seconds: float) -> None:
    process = psutil.Process(server)
    pulls.clear()
    beats.clear()
    busy, began = sum(process.cpu_times()[:2]), time.monotonic()
    time.sleep(seconds)
    share = (sum(process.cpu_times()[:2]) - busy) / (time.monotonic() - began)
    print(f"  idle for {seconds:.0f} s: pulls {pulls}")
    print(f"                 heartbeats {beats}")
    print(f"                 server {share:.0%} of a core, {process.memory_info().rss / 1e6:.0f} MB")


def _rounds(directory: Path, home: Path, number: int, rounds: int) -> None:
    plan = {
        "task": {"name": "big_model:BigModel", "data": "nothing"},
        "federation": {"clients": number, "rounds": rounds, "quorum": number, "patience-seconds": 120.0},
        "training": {"device": "cpu", "learning-rate": 1e-3},
    }
    (directory / "plan.toml").write_text(tomli_w.dumps(plan))
    run_command(directory, "run", "plan.toml", "--home", str(home), timeout=600.0 * (rounds + 1))
    lines = (home / "runs" / "bigmodel-0001" / "rounds.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    told = ", ".join(f"{len(line['counted'])} counted in {line['wall_seconds']:.1f} s" for line in found)
    print(f"  rounds with evaluation: {told}")


if __name__ == "__main__":
    main()
