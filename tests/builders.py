"""Small things with defaults, for tests to be built from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fedcore import Attribute, Classification, Examples, RunPlan
from fedcore.aggregation.contract import Block, Rule
from fedcore.listeners import Beginning, Ending
from fedcore.messages import ClientUpdate, TrainRequest
from fedcore.parameters import Layout, Parameters
from fedcore.plan import merge
from fedcore.privacy.plan import NoiseKind, PrivacyPlan, Relation, Unit
from fedcore.segments import Form, Segment
from fedcore_clients.training.local_model import Client, LocalModel


class Remembered:
    """A listener that keeps what it is shown."""

    name = "remembered"

    def __init__(self) -> None:
        self.plan: RunPlan | None = None
        self.beginning: Beginning | None = None
        self.ending: Ending | None = None
        self.lines: list[Mapping[str, Any]] = []

    def run_begins(self, plan: RunPlan, beginning: Beginning) -> None:
        self.plan, self.beginning = plan, beginning

    def round_closed(self, line: Mapping[str, Any]) -> None:
        self.lines.append(line)

    def run_ends(self, ending: Ending) -> None:
        self.ending = ending


class Stopping(Remembered):
    """Ctrl-C after the first round."""

    def round_closed(self, line: Mapping[str, Any]) -> None:
        super().round_closed(line)
        raise KeyboardInterrupt


class TinyTask(Classification):
    """Two blobs in four dimensions, and a sex."""

    name = "tiny"
    labels = ("no", "yes")

    def __init__(self, *, rows: int = 120, seed: int = 0, model: Any = None) -> None:
        self.rows, self.seed, self.model = rows, seed, model

    def build_model(self) -> nn.Module:
        if self.model is not None:
            return self.model()
        return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 2))

    def load_data(self, path: Path | None) -> Examples:
        generator = torch.Generator().manual_seed(self.seed)
        targets = torch.randint(0, 2, (self.rows,), generator=generator)
        inputs = torch.randn(self.rows, 4, generator=generator) + targets[:, None] * 1.5
        sexes = ["female" if flag else "male" for flag in torch.rand(self.rows, generator=generator) < 0.4]
        sex = Attribute.from_values(sexes, vocabulary=("female", "male"))
        return Examples(columns={"inputs": inputs, "targets": targets}, attributes={"sex": sex})


def build_plan(**sections: Mapping[str, Any]) -> RunPlan:
    """A short run on the CPU; sections are laid over it, with underscores for hyphens in keys."""
    defaults = {
        "federation": {"clients": 4, "rounds": 3},
        "aggregation": {"rule": "mean"},
        "training": {"learning-rate": 0.1, "batch-size": 16, "device": "cpu"},
        "engine": {"workers": 1},
    }
    return RunPlan.from_mapping(merge(defaults, {name: _kebab(section) for name, section in sections.items()}))


def build_private_plan(*, privacy: Mapping[str, Any] | None = None, **sections: Mapping[str, Any]) -> RunPlan:
    """A resolved plan with record-level privacy and repeatable noise."""
    settings = {
        "unit": "record",
        "noise_multiplier": 1.0,
        "nominal_batch": 10.0,
        "sampling_rate": 0.5,
        "steps_per_round": 2,
        "noise": "test",
    } | dict(privacy or {})
    aggregation = {"rule": "uniform"} | dict(sections.pop("aggregation", {}))
    return build_plan(privacy=settings, aggregation=aggregation, **sections)


def build_privacy(**changes: Any) -> PrivacyPlan:
    values: dict[str, Any] = {
        "unit": Unit.RECORD,
        "relation": Relation.ZERO_OUT,
        "sampling_rate": 0.5,
        "noise_multiplier": 1.0,
        "clip_norm": 1.0,
        "nominal_batch": 10.0,
        "steps_per_round": 1,
        "rounds": 1,
        "delta": 1e-5,
        "noise": NoiseKind.TEST,
    }
    return PrivacyPlan(**(values | changes))


def build_client(name: str = "client-0", *, rows: int = 30, seed: int = 0, task: TinyTask | None = None) -> Client:
    task = task or TinyTask()
    data = TinyTask(rows=rows, seed=seed).load_data(None)
    return Client(name=name, training=data, held_out=TinyTask(rows=12, seed=seed + 1000).load_data(None))


def build_local(plan: RunPlan | None = None, *, task: Any = None) -> LocalModel:
    return LocalModel(task or TinyTask(), plan or build_plan(), torch.device("cpu"))


def build_request(parameters: Parameters, *, cohort: tuple[str, ...] = ("client-0",), round: int = 1) -> TrainRequest:
    return TrainRequest(round=round, attempt=0, cohort=cohort, parameters=parameters)


def build_layout(size: int = 3) -> Layout:
    return Layout(("w",), ((size,),), size)


def build_form(size: int = 3, dtype: str = "float32") -> Form:
    """A reply without encodings."""
    return Form((Segment("update", dtype, size),))


def build_parameters(*values: float, dtype: torch.dtype = torch.float32) -> Parameters:
    return Parameters(torch.tensor(values, dtype=dtype), build_layout(len(values)))


def build_update(client: str, *values: float, num_examples: int | None = 1, round: int = 1) -> ClientUpdate:
    return ClientUpdate(
        client=client,
        round=round,
        values={"update": torch.tensor(values, dtype=torch.float32)},
        num_examples=num_examples,
    )


def block_of(*updates: ClientUpdate) -> Block:
    """Updates weighed by their examples."""
    weights = torch.tensor([float(update.num_examples or 0) for update in updates], dtype=torch.float64)
    vectors = {"update": torch.stack([update.values["update"] for update in updates])}
    return Block(vectors=vectors, factors=weights, divisors=weights)


def combined(rule: Rule, updates: Sequence[ClientUpdate]) -> Tensor:
    """What a rule makes of updates, each in a block of its own."""
    combination = rule.begin({"update": len(updates[0].values["update"])}, {})
    for update in updates:
        combination.add(block_of(update))
    return combination.finish()[0]["update"]


def _kebab(section: Mapping[str, Any]) -> dict[str, Any]:
    return {key.replace("_", "-"): value for key, value in section.items()}
