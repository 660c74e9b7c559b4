"""Writes ``docs/engines.md``: which runs other engines compute as the loop engine does, and which are refused.

Run ``python docs/engine_matrix.py > docs/engines.md``; a test holds the committed file equal to a part of it, trained
anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import torch
from torch import Tensor

from fedcore.algorithms.registry import ALGORITHMS, ASYNCHRONOUS
from fedcore.errors import PlanError
from fedcore.plan import RunPlan, merge
from fedcore.plugins import Reference
from fedcore_server.rounds.rounds import close_round, init_state, plan_round
from fedcore_simulations.engines.registry import build_engine
from fedcore_simulations.engines.testing import ExampleTask
from fedcore_simulations.preparation import Preparation, prepare

TOLERANCES = {"float64": 1e-12, "float32": 1e-4}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "SGD": {},
    "momentum": {"optimizer": "SGD", "optimizer-options": {"momentum": 0.9}},
    "Adam": {"optimizer": "Adam", "learning-rate": 0.01},
}
PRIVACY: dict[str, dict[str, Any]] = {
    "none": {},
    "record": {
        "privacy": {
            "unit": "record", "noise-multiplier": 1.0, "nominal-batch": 10.0, "sampling-rate": 0.5,
            "steps-per-round": 2, "noise": "test",
        },
        "aggregation": {"rule": "uniform"},
    },
}  # fmt: skip
CLIENTS = {"equal": "iid", "unequal": "dirichlet:0.5"}
_AUDIT = {"sensitive": ["sex"], "vocabularies": {"sex": ["female", "male", "unknown"]}}
_BASE: dict[str, Any] = {
    "federation": {"clients": 4, "rounds": 2},
    "training": {"learning-rate": 0.1, "batch-size": 16, "local-epochs": 2, "device": "cpu"},
    "engine": {"workers": 1},
    "audit": _AUDIT,
}
_DEVICE = {"gigaflops": 1.0, "downlink-megabits-per-second": 10.0, "uplink-megabits-per-second": 10.0}
COMPARED = ("batched", "compiled")
_HEAD = """\
<!-- Written by docs/engine_matrix.py. -->

# Engines

Which runs the engines compute as `loop` does. What a cell names was trained for two rounds by `loop` and by each of its
engines, once in float64 and once in float32, for clients of equal and of unequal size: the models differ by at most
1e-12 and 1e-4. An engine that it does not name refuses the plan. Asynchronous algorithms are given the updates of all
clients in each step. Under record-level privacy all draw the same batches and the same noise, from a seed
(`privacy.noise = "test"`), so that noise and clipping are compared too. A cell with a number names the reason below the
table why the plan is refused, whatever the engine.

The `ray` engine runs the functions of `loop` in other processes: its models are those of `loop`, bit for bit
(`tests/simulations/test_ray_engine.py`). [Architecture](architecture.md#engines-and-determinism) says which models
each engine takes.
"""


def cells() -> Iterator[tuple[str, str, str]]:
    """Algorithm, optimizer and privacy unit of each cell."""
    yield from product(ALGORITHMS.rows, OPTIMIZERS, PRIVACY)


def outcome(algorithm: str, optimizer: str, privacy: str) -> str:
    """What a cell holds: the engines, or a reason; raises `SystemExit` where engines differ."""
    exact = list(COMPARED)
    for clients, precision in product(CLIENTS, TOLERANCES):
        sections: dict[str, Any] = {
            "algorithm": {"name": f"{algorithm}:2" if algorithm == "fedbuff" else algorithm},
            "devices": {"kinds": {"one": _DEVICE}} if algorithm in ASYNCHRONOUS else {},
            "training": {**OPTIMIZERS[optimizer], "precision": precision},
            "federation": {"partition": CLIENTS[clients]},
        }
        try:
            ready = _ready(merge(sections, PRIVACY[privacy]))
        except PlanError as refusal:
            return str(refusal)
        expected = trained(ready, "loop")
        for engine in [each for each in exact if _refusal(ready, each) is None]:
            apart = float((trained(ready, engine) - expected).abs().max())
            if not apart <= TOLERANCES[precision]:
                where = f"{engine}, {algorithm}, {optimizer}, privacy {privacy}, {clients} clients, {precision}"
                raise SystemExit(f"{where}: expected models at most {TOLERANCES[precision]:g} apart, found {apart:g}")
        exact = [each for each in exact if _refusal(ready, each) is None]
    return ", ".join(f"`{each}`" for each in exact) or "`loop` alone"


def _refusal(ready: Preparation, engine: str) -> str | None:
    return build_engine(engine, ready.task, ready.plan, ready.clients, ready.device).refusal()


def trained(ready: Preparation, engine: Reference) -> Tensor:
    """The model after all rounds of the plan, in float64."""
    state = init_state(ready.task, ready.plan)
    names = [client.name for client in ready.clients]
    with build_engine(engine, ready.task, ready.plan, ready.clients, ready.device) as federation:
        for _ in range(ready.plan.federation.rounds):
            request = plan_round(state, ready.plan, names)
            state, _ = close_round(state, ready.plan, request, federation.train(request))
    return state.parameters.buffer.to(torch.float64)


def write() -> Iterator[str]:
    """The page, line by line."""
    yield _HEAD
    columns = list(product(PRIVACY, OPTIMIZERS))
    yield "| algorithm | " + " | ".join(f"{optimizer}, {_words(privacy)}" for privacy, optimizer in columns) + " |"
    yield "| --- " * (len(columns) + 1) + "|"
    reasons: list[str] = []
    for algorithm in ALGORITHMS.rows:
        shown = [_shown(outcome(algorithm, optimizer, privacy), reasons) for privacy, optimizer in columns]
        yield f"| `{algorithm}` | {' | '.join(shown)} |"
    yield ""
    yield from (f"{number}. {reason}" for number, reason in enumerate(reasons, start=1))


def _words(privacy: str) -> str:
    return "no privacy" if privacy == "none" else f"unit `{privacy}`"


def _shown(found: str, reasons: list[str]) -> str:
    if found.startswith("`"):
        return found
    reason = found.replace("\n", "; ")
    if reason not in reasons:
        reasons.append(reason)
    return f"refused ({reasons.index(reason) + 1})"


def _ready(sections: Mapping[str, Any]) -> Preparation:
    return prepare(ExampleTask(dropout=0.0), RunPlan.from_mapping(merge(_BASE, sections)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    for line in write():
        print(line)
