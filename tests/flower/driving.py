"""One plan, driven through Flower's own messages in this process."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fedcore.parameters import Parameters
from fedcore.plan import RunPlan
from fedcore.storage.events import EventLog
from fedcore.task import Task
from fedcore_server.flower.grid_federation import GridFederation
from fedcore_server.rounds.driver import Outcome, Run
from fedcore_server.rounds.round_record import RoundRecord
from fedcore_server.rounds.rounds import init_state
from fedcore_server.rounds.state import ServerState
from fedcore_simulations.preparation import prepare
from simulations.benchmarks.client_app import build_client_app
from tests.builders import TinyTask, build_plan
from tests.flower.in_memory_grid import Consortium, InMemoryGrid

PLANS: dict[str, dict[str, dict[str, Any]]] = {
    "FedAvg with weights": {},
    "FedProx and server Adam": {
        "federation": {"server_optimizer": "adam", "server_learning_rate": 0.05},
        "algorithm": {"name": "fedprox:0.1"},
    },
    "a cohort of two and momentum at the clients": {
        "federation": {"cohort_size": 2, "server_optimizer": {"name": "sgd", "momentum": 0.5}, "averaging": 0.5},
        "training": {"optimizer_options": {"momentum": 0.9}},
    },
    "record-level privacy with test noise": {
        "privacy": {"unit": "record", "noise_multiplier": 0.5, "noise": "test", "steps_per_round": 3}
    },
    "noise on evaluations, by which rows are weighed": {
        "privacy": {
            "unit": "record",
            "noise_multiplier": 0.5,
            "noise": "test",
            "evaluation_noise_multiplier": 0.5,
        },
        "algorithm": {"name": "reweighing"},
    },
    "clients weighed by their losses": {"algorithm": {"name": "agnostic"}},
    "FedNova, with a number beside the update": {
        "algorithm": {"name": "fednova"},
        "federation": {"partition": "dirichlet:1"},
    },
    "SCAFFOLD, with a memory at each client": {"algorithm": {"name": "scaffold"}, "federation": {"cohort_size": 2}},
    "a trimmed mean of updates cut to their largest values and to 8 bits": {
        "federation": {"quorum": 4},
        "aggregation": {"rule": "trimmed-mean:0.25", "encode": ["top-k:0.3", "int8"]},
    },
    "record-level privacy with control variates and sparse updates": {
        "algorithm": {"name": "scaffold"},
        "aggregation": {"encode": ["top-k:0.2"]},
        "privacy": {"unit": "record", "noise_multiplier": 0.5, "noise": "test", "steps_per_round": 3},
    },
    "the best round within a limit": {
        "training": {"learning_rate": 0.8},
        "audit": {"limits": [{"metric": "selection_rate", "at-most": 1.0}], "checkpoint": "within-limits"},
    },
}


def plan_of(name: str, precision: str = "float64") -> RunPlan:
    sections = {key: dict(value) for key, value in PLANS[name].items()}
    sections["training"] = {**sections.get("training", {}), "precision": precision}
    sections["aggregation"] = {"rule": None, **sections.get("aggregation", {})}
    sections["audit"] = {"sensitive": ["sex"], **sections.get("audit", {})}
    return build_plan(task={"name": "tests.builders:TinyTask"}, **sections)


def through_flower(
    plan: RunPlan,
    *,
    allow_test_noise: bool = True,
    load: Any = None,
    consortium: Consortium | None = None,
    make_grid: Callable[..., InMemoryGrid] = InMemoryGrid,
    on_round: Callable[[RoundRecord, ServerState], None] = lambda record, state: None,
    task: Task | None = None,
    test: Callable[[Parameters], Mapping[str, float]] | None = None,
    **grid: Any,
) -> tuple[Outcome, list[dict[str, Any]]]:
    """The outcome, and the lines of the journal.

    Args:
        task: A `TinyTask` by default.
        make_grid: Given the rest of the arguments.
    """
    task = task or TinyTask()
    ready = prepare(task, plan)
    clients = {client.name: client for client in ready.clients}
    consortium = consortium or Consortium.of(clients)
    rounds: list[dict[str, Any]] = []

    def keep(record: RoundRecord, state: ServerState) -> None:
        rounds.append(record.to_json())
        on_round(record, state)

    with tempfile.TemporaryDirectory() as directory:
        app = build_client_app(
            task,
            allow_test_noise=allow_test_noise,
            load=load or (lambda context, _: clients[context.node_config["name"]]),
            memory=Path(directory) / "memory",
        )
        correspondence = consortium.correspondence(EventLog(Path(directory) / "events.jsonl"))
        federation = GridFederation(make_grid(app, consortium, **grid), ready.plan, correspondence)
        run = Run(task=task, plan=ready.plan, federation=federation, hooks=ready.hooks, test=test)
        outcome = run.to_end(init_state(task, ready.plan), keep)
    return outcome, rounds
