"""Devices for tests: by default all alike and faultless, where training takes no time and a transfer half a second."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fedcore.plan import RunPlan
from fedcore_simulations.virtual_time.devices import Devices
from fedcore_simulations.virtual_time.workload import Workload
from tests.builders import build_plan

FAST = 1e30


def kind(**changes: Any) -> dict[str, Any]:
    alike = {
        "gigaflops": FAST,
        "downlink-megabits-per-second": FAST,
        "uplink-megabits-per-second": FAST,
        "latency-seconds": 0.5,
    }
    return alike | {name.replace("_", "-"): value for name, value in changes.items()}


def kinds(**changes: Any) -> dict[str, Any]:
    """A section with one kind of device."""
    return {"kinds": {"alike": kind(**changes)}}


PHONES = {"profiles": "phones"}
UNEQUAL = {
    "kinds": {
        "slow": kind(gigaflops=1.0, jitter=0.3, dropout=0.1, share=2),
        "quick": kind(gigaflops=7.0, jitter=0.3),
    },
    "flops-per-example": 1e9,
}
"""Devices of two speeds, some of which drop out; a row takes a second or a seventh."""


def devices_of(*, clients: int = 6, flops: float = 0.0, federation: dict[str, Any] | None = None, **changes: Any):
    """Devices of one kind, each with so many operations a round."""
    plan = timed_plan(devices=kinds(**changes), federation={"clients": clients, **(federation or {})})
    names = [f"client-{number:04}" for number in range(clients)]
    return Devices(plan, names, Workload(flops=[flops] * clients, bytes_down=10**6, bytes_up=10**6))


def timed_plan(*, algorithm: str = "fedavg", **sections: Any) -> RunPlan:
    """A plan of the loop engine in float64, whose task can be named in a file."""
    training = {"precision": "float64", **sections.pop("training", {})}
    federation = {"clients": 6, "rounds": 4, "round_timeout_seconds": 100.0, **sections.pop("federation", {})}
    engine = {"name": "loop", **sections.pop("engine", {})}
    return build_plan(
        task={"name": "tests.builders:TinyTask"},
        algorithm={"name": algorithm, **sections.pop("options", {})},
        training=training,
        federation=federation,
        engine=engine,
        **sections,
    )


def linear() -> nn.Module:
    return nn.Linear(4, 2)


def gradient(weights: torch.Tensor, rows: Any) -> torch.Tensor:
    """Of the mean logistic loss of `linear`, by hand; `weights` as in the model's buffer."""
    inputs, targets = rows.columns["inputs"].double(), rows.columns["targets"]
    scores = inputs @ weights[:8].view(2, 4).T + weights[8:]
    errors = torch.softmax(scores, 1) - nn.functional.one_hot(targets, 2)
    return torch.cat([(errors.T @ inputs / len(inputs)).flatten(), errors.mean(0)])


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([tensor.flatten().double() for tensor in model.state_dict().values()])
