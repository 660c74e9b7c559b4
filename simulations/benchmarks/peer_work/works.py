"""The works: federations of random rows, each of one kind of model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fedcore import Classification, Examples, RunPlan
from fedcore_simulations.partition.contract import Owner, Rows
from peer_work.models import MODELS

_HELD_OUT = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One kind of federation.

    Attributes:
        model: A row of ``MODELS``.
        sizes: Least and most training rows of a client, log-uniform between them.
        inputs: Shape of a row.
        words: Size of the vocabulary, where rows are tokens; else 0.
        private: Whether each step is one of DP-SGD; the bare loop's is then Opacus'.
        turn: Rounds in a turn, where two take turns.
    """

    about: str
    model: str
    clients: int
    cohort: int
    sizes: tuple[int, int]
    inputs: tuple[int, ...]
    classes: int = 10
    words: int = 0
    batch: int = 10
    epochs: int = 1
    learning_rate: float = 0.1
    private: bool = False
    turn: int = 1


WORKS = {
    "W1": Work(
        about="CNN of 1.6 M parameters, cohort 50 of 1,000 clients of 50 rows",
        model="convolutions",
        clients=1000,
        cohort=50,
        sizes=(50, 50),
        inputs=(3, 32, 32),
    ),
    "W2": Work(
        about="MLP 64-64-10, cohort 100 of 1,000 clients of 20 rows",
        model="perceptron",
        clients=1000,
        cohort=100,
        sizes=(20, 20),
        inputs=(64,),
        turn=5,
    ),
    "W2P": Work(
        about="W2 with record-level privacy, against a loop of Opacus clients",
        model="perceptron",
        clients=1000,
        cohort=100,
        sizes=(20, 20),
        inputs=(64,),
        private=True,
        turn=5,
    ),
    "W3": Work(
        about="W1 with record-level privacy, against a loop of Opacus clients; cohort 10",
        model="convolutions",
        clients=1000,
        cohort=10,
        sizes=(50, 50),
        inputs=(3, 32, 32),
        private=True,
    ),
    "W4": Work(
        about="transformer of two blocks (64 wide, 32 tokens), cohort 50 of 500 clients of 40 rows",
        model="transformer",
        clients=500,
        cohort=50,
        sizes=(40, 40),
        inputs=(32,),
        words=200,
    ),
    "W5": Work(
        about="logistic regression on 100 features, cohort 1,000 of 10,000 clients of 10 to 200 rows",
        model="regression",
        clients=10_000,
        cohort=1000,
        sizes=(10, 200),
        inputs=(100,),
        turn=5,
    ),
    "BLAZEFL": Work(
        about="small CNN of BlazeFL's harness, all of 100 clients of 500 rows, batch 50, five epochs",
        model="blazefl",
        clients=100,
        cohort=100,
        sizes=(500, 500),
        inputs=(3, 32, 32),
        batch=50,
        epochs=5,
    ),
}


class Dealt:
    """A partitioner: each client has as many training rows as its work says, all in order."""

    remedy = "the number of rows that the work has"

    def __init__(self, work: str) -> None:
        self._sizes = sizes_of(WORKS[work])

    def names(self, examples: Examples) -> None:
        return None

    def deal(self, rows: Rows, generator: np.random.Generator) -> Owner:
        owner = np.arange(len(rows)) % rows.clients
        owner[~rows.held_out] = np.repeat(np.arange(rows.clients), self._sizes)
        return owner


def sizes_of(work: Work) -> np.ndarray[Any, np.dtype[np.int64]]:
    least, most = np.log(work.sizes)
    sizes: np.ndarray[Any, np.dtype[np.int64]] = np.exp(np.random.default_rng(0).uniform(least, most, work.clients))
    return sizes.round().astype(np.int64)


class Made(Classification):
    """Random rows: the speed does not depend on what they hold."""

    def __init__(self, work: Work) -> None:
        self.name, self.labels, self._work = "made", tuple(map(str, range(work.classes))), work

    def build_model(self) -> nn.Module:
        return MODELS[self._work.model]()

    def load_data(self, path: Path | None) -> Examples:
        work, trained, generator = self._work, int(sizes_of(self._work).sum()), torch.Generator().manual_seed(0)
        rows = round(trained / (1 - _HELD_OUT))
        while rows - round(_HELD_OUT * rows) < trained:
            rows += 1
        while rows - round(_HELD_OUT * rows) > trained:
            rows -= 1
        shape = (rows, *work.inputs)
        tokens = torch.randint(0, work.words, shape, generator=generator) if work.words else None
        inputs = torch.randn(shape, generator=generator) if tokens is None else tokens
        targets = torch.randint(0, work.classes, (rows,), generator=generator)
        return Examples(columns={"inputs": inputs, "targets": targets})


def plan_of(name: str, engine: str, *, workers: int, rounds: int) -> RunPlan:
    """The plan of a work; evaluation is in the last round only."""
    work = WORKS[name]
    return RunPlan.from_mapping(
        {
            "federation": {
                "clients": work.clients,
                "cohort-size": work.cohort,
                "rounds": rounds,
                "evaluate-every": rounds,
                "held-out": _HELD_OUT,
                "partition": {"name": f"{__name__}:Dealt", "work": name},
            },
            "training": {
                "learning-rate": work.learning_rate,
                "batch-size": work.batch,
                "local-epochs": work.epochs,
                "device": "cpu",
            },
            "engine": {"name": engine, "workers": workers},
            **(_privacy(work) if work.private else {}),
        }
    )


def _privacy(work: Work) -> dict[str, Any]:
    rows = work.sizes[0]
    privacy = {
        "unit": "record",
        "noise-multiplier": 1.0,
        "clip-norm": 1.0,
        "sampling-rate": work.batch / rows,
        "nominal-batch": float(work.batch),
        "steps-per-round": rows // work.batch,
    }
    return {"privacy": privacy, "aggregation": {"rule": "uniform"}}
