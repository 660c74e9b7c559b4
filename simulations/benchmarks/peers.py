"""What a client-round costs: fedcore's engines against a bare PyTorch loop of the same work.

Both train the same clients on the same batches, in turns in one process, so that a busy machine slows both. fedcore's
rows are the whole path of `simulate`: gate, sum, records and checkpoint, with evaluation in the last round only. The
largest difference of the two models is printed.

python simulations/benchmarks/peers.py --work W2 --engine batched --workers 1
python simulations/benchmarks/peers.py --json
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedcore import Classification, Examples, RunPlan
from fedcore.data.shuffles import shuffled
from fedcore.seeding import derive_seeds
from fedcore_clients.training.local_model import Client
from fedcore_server.rounds.cohort import choose_cohort
from fedcore_simulations import simulate
from fedcore_simulations.partition.contract import Owner, Rows
from fedcore_simulations.preparation import prepare

_BATCH, _HELD_OUT, _WARM = 10, 0.05, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One kind of federation.

    Attributes:
        sizes: Least and most training rows of a client, log-uniform between them.
        inputs: Shape of a row.
        words: Size of the vocabulary, where rows are tokens; else 0.
        private: Whether each step is one of DP-SGD; the bare loop's is then Opacus'.
    """

    about: str
    model: Callable[[], nn.Module]
    clients: int
    cohort: int
    sizes: tuple[int, int]
    inputs: tuple[int, ...]
    classes: int = 10
    words: int = 0
    learning_rate: float = 0.1
    private: bool = False


class Block(nn.Module):
    """A block of a transformer: attention with four heads, and a perceptron."""

    def __init__(self, width: int = 64, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.before, self.between = heads, nn.LayerNorm(width), nn.LayerNorm(width)
        self.joint, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, rows: Tensor) -> Tensor:
        count, length, width = rows.shape
        joint = self.joint(self.before(rows)).view(count, length, 3, self.heads, width // self.heads)
        seen = functional.scaled_dot_product_attention(*joint.permute(2, 0, 3, 1, 4))
        rows = rows + self.out(seen.transpose(1, 2).reshape(count, length, width))
        result: Tensor = rows + self.perceptron(self.between(rows))
        return result


class Transformer(nn.Module):
    def __init__(self, words: int = 200, length: int = 32, width: int = 64) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(words, width), nn.Embedding(length, width)
        self.blocks, self.head = nn.Sequential(Block(width), Block(width)), nn.Linear(width, 10)

    def forward(self, tokens: Tensor) -> Tensor:
        places = torch.arange(tokens.shape[1]).expand(tokens.shape)
        result: Tensor = self.head(self.blocks(self.words(tokens) + self.places(places)).mean(1))
        return result


def _convolutions() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(64 * 14 * 14, 128), nn.ReLU(), nn.Linear(128, 10)),
    )


def _perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


WORKS = {
    "W1": Work(
        about="CNN of 1.6 M parameters, cohort 50 of 1,000 clients of 50 rows",
        model=_convolutions,
        clients=1000,
        cohort=50,
        sizes=(50, 50),
        inputs=(3, 32, 32),
    ),
    "W2": Work(
        about="MLP 64-64-10, cohort 100 of 1,000 clients of 20 rows",
        model=_perceptron,
        clients=1000,
        cohort=100,
        sizes=(20, 20),
        inputs=(64,),
    ),
    "W2P": Work(
        about="W2 with record-level privacy, against a loop of Opacus clients",
        model=_perceptron,
        clients=1000,
        cohort=100,
        sizes=(20, 20),
        inputs=(64,),
        private=True,
    ),
    "W3": Work(
        about="W1 with record-level privacy, against a loop of Opacus clients; cohort 10",
        model=_convolutions,
        clients=1000,
        cohort=10,
        sizes=(50, 50),
        inputs=(3, 32, 32),
        private=True,
    ),
    "W4": Work(
        about="transformer of two blocks (64 wide, 32 tokens), cohort 50 of 500 clients of 40 rows",
        model=Transformer,
        clients=500,
        cohort=50,
        sizes=(40, 40),
        inputs=(32,),
        words=200,
    ),
    "W5": Work(
        about="logistic regression on 100 features, cohort 1,000 of 10,000 clients of 10 to 200 rows",
        model=lambda: nn.Linear(100, 10),
        clients=10_000,
        cohort=1000,
        sizes=(10, 200),
        inputs=(100,),
    ),
}


class Dealt:
    """A partitioner: each client has as many training rows as its work says, all in order."""

    remedy = "the number of rows that the work has"

    def __init__(self, work: str) -> None:
        self._sizes = _sizes(WORKS[work])

    def names(self, examples: Examples) -> None:
        return None

    def deal(self, rows: Rows, generator: np.random.Generator) -> Owner:
        owner = np.arange(len(rows)) % rows.clients
        owner[~rows.held_out] = np.repeat(np.arange(rows.clients), self._sizes)
        return owner


def _sizes(work: Work) -> np.ndarray[Any, np.dtype[np.int64]]:
    least, most = np.log(work.sizes)
    sizes: np.ndarray[Any, np.dtype[np.int64]] = np.exp(np.random.default_rng(0).uniform(least, most, work.clients))
    return sizes.round().astype(np.int64)


class Made(Classification):
    """Random rows: the speed does not depend on what they hold."""

    def __init__(self, work: Work) -> None:
        self.name, self.labels, self._work = "made", tuple(map(str, range(work.classes))), work

    def build_model(self) -> nn.Module:
        return self._work.model()

    def load_data(self, path: Path | None) -> Examples:
        work, trained, generator = self._work, int(_sizes(self._work).sum()), torch.Generator().manual_seed(0)
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


class BareLoop:
    """FedAvg as one writes it in a notebook, on the batches that fedcore takes."""

    def __init__(self, task: Made, plan: RunPlan, clients: Sequence[Client], start: Mapping[str, Tensor]) -> None:
        self._plan, self._clients = plan, {client.name: client for client in clients}
        self._model, self._at = task.build_model(), {name: value.clone() for name, value in start.items()}
        self._round = 0

    def prepared(self) -> Callable[[], None]:
        """The next round; its shuffles are made here, and not timed."""
        self._round += 1
        seed, names = self._plan.federation.seed, sorted(self._clients)
        cohort = choose_cohort(names, self._plan.federation, round=self._round, attempt=0)
        rows = [self._clients[name].training.columns for name in cohort]
        seeds = derive_seeds(seed, "order", self._round, 0, names=cohort)
        orders = [
            torch.from_numpy(shuffled([seed], [len(own["targets"])], epochs=1)[0, 0])
            for own, seed in zip(rows, seeds, strict=True)
        ]
        return lambda: self._train(rows, orders)

    def _train(self, clients: Sequence[Mapping[str, Tensor]], orders: Sequence[Tensor]) -> None:
        total = {name: torch.zeros_like(tensor) for name, tensor in self._at.items()}
        count = sum(len(order) for order in orders)
        for own, order in zip(clients, orders, strict=True):
            self._model.load_state_dict(self._at)
            optimizer = torch.optim.SGD(self._model.parameters(), lr=self._plan.training.learning_rate)
            for start in range(0, len(order), _BATCH):
                rows = order[start : start + _BATCH]
                optimizer.zero_grad()
                loss = functional.cross_entropy(self._model(own["inputs"][rows]), own["targets"][rows])
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            for name, tensor in self._model.state_dict().items():
                total[name] += len(order) / count * (tensor - self._at[name])
        self._at = {name: tensor + total[name] for name, tensor in self._at.items()}

    def difference(self, model: nn.Module) -> float:
        return max(float((tensor - self._at[name]).abs().max()) for name, tensor in model.state_dict().items())


class OpacusLoop(BareLoop):
    """As `BareLoop`, with Opacus' hooks and optimizer. It draws batches and noise of its own."""

    def _train(self, clients: Sequence[Mapping[str, Tensor]], orders: Sequence[Tensor]) -> None:
        from opacus.grad_sample import GradSampleModule
        from opacus.optimizers import DPOptimizer

        total = {name: torch.zeros_like(tensor) for name, tensor in self._at.items()}
        for own in clients:
            self._model.load_state_dict(self._at)
            model = GradSampleModule(self._model, loss_reduction="sum")
            optimizer = DPOptimizer(
                torch.optim.SGD(model.parameters(), lr=self._plan.training.learning_rate),
                noise_multiplier=1.0,
                max_grad_norm=1.0,
                expected_batch_size=_BATCH,
                loss_reduction="sum",
            )
            for _ in range(self._plan.privacy.steps_per_round):
                rows = torch.nonzero(torch.rand(len(own["targets"])) < self._plan.privacy.sampling_rate).squeeze(1)
                optimizer.zero_grad()
                logits = model(own["inputs"][rows])
                functional.cross_entropy(logits, own["targets"][rows], reduction="sum").backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            model.to_standard_module()
            for name, tensor in self._model.state_dict().items():
                total[name] += (tensor - self._at[name]) / len(clients)
        self._at = {name: tensor + total[name] for name, tensor in self._at.items()}


@dataclass
class Alternating:
    """A listener: runs a round of the bare loop after each round of fedcore, and times both."""

    bare: BareLoop
    name: str = "alternating"
    pairs: list[tuple[float, float]] = field(default_factory=list)
    _since: float = 0.0

    def run_begins(self, plan: RunPlan, beginning: Any) -> None:
        self._since = time.perf_counter()

    def round_closed(self, line: Mapping[str, Any]) -> None:
        ours = time.perf_counter() - self._since
        work = self.bare.prepared()
        started = time.perf_counter()
        work()
        self._since = time.perf_counter()
        self.pairs.append((self._since - started, ours))

    def run_ends(self, ending: Any) -> None:
        pass


def measured(name: str, engine: str, *, workers: int, rounds: int) -> dict[str, Any]:
    """Medians over paired rounds, without the first few and the last, which is evaluated."""
    work = WORKS[name]
    task = Made(work)
    plan = RunPlan.from_mapping(
        {
            "federation": {
                "clients": work.clients,
                "cohort-size": work.cohort,
                "rounds": rounds,
                "evaluate-every": rounds,
                "held-out": _HELD_OUT,
                "partition": {"name": f"{__name__}:Dealt", "work": name},
            },
            "training": {"learning-rate": work.learning_rate, "batch-size": _BATCH, "device": "cpu"},
            "engine": {"name": engine, "workers": workers},
            **(_privacy(work) if work.private else {}),
        }
    )
    ready = prepare(task, plan)
    torch.manual_seed(0)
    kind = OpacusLoop if work.private else BareLoop
    listener = Alternating(kind(task, ready.plan, ready.clients, _start(task, ready.plan)))
    with tempfile.TemporaryDirectory() as directory:
        result = simulate(task, plan, out=Path(directory) / "run", listeners=[listener])
    pairs = listener.pairs[_WARM:-1]
    bare, ours = (1e3 * statistics.median(pair[side] for pair in pairs) / work.cohort for side in (0, 1))
    return {
        "engine": f"{result.summary['engine']}, {workers} worker{'s' * (workers > 1)}",
        "milliseconds_per_client_round": round(ours, 4),
        "bare_milliseconds": round(bare, 4),
        "times_bare_loop": round(statistics.median(pair[0] / pair[1] for pair in pairs), 2),
        "rounds": len(pairs),
        "largest_difference": None if work.private else listener.bare.difference(result.model),
    }


def _privacy(work: Work) -> dict[str, Any]:
    rows = work.sizes[0]
    privacy = {
        "unit": "record",
        "noise-multiplier": 1.0,
        "clip-norm": 1.0,
        "sampling-rate": _BATCH / rows,
        "nominal-batch": float(_BATCH),
        "steps-per-round": rows // _BATCH,
    }
    return {"privacy": privacy, "aggregation": {"rule": "uniform"}}


def _start(task: Made, plan: RunPlan) -> Mapping[str, Tensor]:
    from fedcore_server.rounds.rounds import init_state

    return {name: view.clone() for name, view in init_state(task, plan).parameters}


def main() -> None:
    """Print a table, or JSON, of the works and engines asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", action="append", choices=WORKS, help="default: W2")
    parser.add_argument("--engine", action="append", help="default: loop and batched")
    parser.add_argument("--workers", action="append", type=int, help="default: 1 and 2")
    parser.add_argument("--rounds", type=int, default=13, help="paired rounds; the first two and the last do not count")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "Full backward hook is firing")  # at every step of Opacus
    for name in asked.work or ["W2"]:
        engines = [
            measured(name, engine, workers=workers, rounds=asked.rounds)
            for engine in asked.engine or ["loop", "batched"]
            for workers in asked.workers or [1, 2]
        ]
        if asked.json:
            print(json.dumps({"work": name, "about": WORKS[name].about, "engines": engines}))
            continue
        print(f"{name}: {WORKS[name].about}")
        for each in engines:
            cost, times = each["milliseconds_per_client_round"], each["times_bare_loop"]
            apart = "" if each["largest_difference"] is None else f", {each['largest_difference']:.0e} apart"
            print(f"  {each['engine']:20} {cost:9.3f} ms a client-round, {times:6.2f} x the bare loop{apart}")


if __name__ == "__main__":
    main()
