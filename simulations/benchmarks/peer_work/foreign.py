"""A peer's row: its process and the bare loop train in turns, on the same batches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from fedcore import RunPlan
from fedcore_clients.training.local_model import Client
from fedcore_simulations.preparation import prepare
from peer_work.bare import BareLoop, drawn_round, start_of
from peer_work.environments import PEERS, python_of
from peer_work.ours import WARM, row
from peer_work.peer_process import DONE, READY, SAVED, save_arrays
from peer_work.works import WORKS, Made, plan_of

_BENCHMARKS = Path(__file__).parents[1]


def measured(name: str, peer: str, *, actors: int, rounds: int, directory: Path) -> dict[str, Any]:
    """Medians over paired rounds; where the peer is not there, why."""
    title = PEERS[peer].title
    if not python_of(peer, directory).is_file():
        return {"engine": title, "skipped": f"not installed in {directory}; run with --setup"}
    if WORKS[name].private:
        return {"engine": title, "skipped": "has no record-level privacy of the same kind"}
    task, plan = Made(WORKS[name]), plan_of(name, "loop", workers=1, rounds=rounds)
    ready = prepare(task, plan)
    bare = BareLoop(task, ready.plan, ready.clients, start_of(task, ready.plan))
    with tempfile.TemporaryDirectory() as made:
        work = Path(made)
        write(work, name, ready.plan, ready.clients, actors=actors)
        save_arrays(work / "start.npz", {key: value.numpy() for key, value in start_of(task, ready.plan).items()})
        pairs = list(_turns(peer, directory, work, bare, rounds))
        with np.load(work / "final.npz") as found:
            final: dict[str, Tensor] = {key: torch.from_numpy(found[key]) for key in found.files}
    return row(name, f"{title}, {actors} actors" if peer == "flower" else title, pairs[WARM:], bare.difference(final))


def write(directory: Path, name: str, plan: RunPlan, clients: Sequence[Client], *, actors: int) -> None:
    """Write a work for a peer: rows once, and for each round the cohort and the order of its rows."""
    work, rounds, by_name = WORKS[name], plan.federation.rounds, {client.name: client for client in clients}
    drawn = [drawn_round(plan, by_name, number) for number in range(1, rounds + 1)]
    names = sorted({client for each in drawn for client in each})
    first = dict(zip(names, np.cumsum([0, *(len(by_name[each].training) for each in names)]), strict=False))
    columns = [by_name[each].training.columns for each in names]
    arrays: dict[str, Any] = {key: np.concatenate([own[key].numpy() for own in columns]) for key in columns[0]}
    for number, orders in enumerate(drawn, start=1):
        parts = [np.concatenate([order.numpy() for order in epochs]) + first[key] for key, epochs in orders.items()]
        arrays[f"cohort {number}"] = np.array([names.index(key) for key in orders])
        arrays[f"order {number}"] = np.concatenate(parts)
        arrays[f"edges {number}"] = np.cumsum([0, *map(len, parts)])
    save_arrays(directory / "work.npz", arrays)
    facts = {"model": work.model, "batch": work.batch, "learning_rate": work.learning_rate, "cohort": work.cohort}
    (directory / "work.json").write_text(json.dumps({**facts, "rounds": rounds, "actors": actors}), encoding="utf-8")


def _turns(peer: str, directory: Path, work: Path, bare: BareLoop, rounds: int) -> Iterator[tuple[float, float]]:
    with _started(peer, directory, work) as (asking, answers):
        _expect(READY, answers)
        for _ in range(rounds):
            started = time.perf_counter()
            asking.write("\n")
            asking.flush()
            _expect(DONE, answers)
            between = time.perf_counter()
            own = bare.prepared()
            begun = time.perf_counter()
            own()
            yield time.perf_counter() - begun, between - started
        asking.close()
        _expect(SAVED, answers)


@contextmanager
def _started(peer: str, directory: Path, work: Path) -> Iterator[tuple[IO[str], IO[str]]]:
    command = [str(python_of(peer, directory)), "-m", f"peer_work.{PEERS[peer].module}", str(work)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sys.stderr, text=True, env=_environment()
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise SystemExit("expected pipes to the peer's process")
        try:
            yield process.stdin, process.stdout
        finally:
            process.kill()


def _environment() -> Mapping[str, str]:
    """Of the peer's process and its workers, which find the models beside the script and nothing of fedcore."""
    own = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    return {**own, "PYTHONPATH": str(_BENCHMARKS), "OMP_NUM_THREADS": "1", "FLWR_TELEMETRY_ENABLED": "0"}


def _expect(word: str, answers: IO[str]) -> None:
    for line in answers:
        if line.strip() == word:
            return
    raise SystemExit(f"expected {word!r} of the peer's process, and it ended; its messages are above")
