"""What record-level privacy costs a training step: fedcore against plain SGD and against Opacus, in one run.

Also what it costs to isolate records by construction instead of by proof or measurement (``privacy.isolation``).

Every way takes the same steps on the same batch, on one core; the ways take turns, so that a busy machine slows
all, and medians of processor time are compared. Of fedcore the whole client-round is measured (load, batch, clipped
sum, noise, optimizer, difference), as it is in a simulation and a deployment. The batch is fixed by a client of that
many rows at sampling rate 1. Run ``python simulations/benchmarks/dp.py``, with ``--help`` for less.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedcore import Classification, Examples, RunPlan
from fedcore.messages import TrainRequest
from fedcore.privacy.noise import SecureRandomness
from fedcore_clients.training.dp.rowwise import RowwiseTask
from fedcore_clients.training.local_model import Client, LocalModel
from fedcore_clients.training.train import train_locally

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from opacus.grad_sample import GradSampleModule, GradSampleModuleFastGradientClipping
    from opacus.layers import DPLSTM, DPMultiheadAttention
    from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
    from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping

_LEARNING_RATE, _CLIP_NORM, _NOISE_MULTIPLIER = 0.1, 1.0, 1.0
_PLAIN, _HOOKS, _GHOST = "plain SGD", "Opacus hooks", "Opacus ghost"
_OPEN, _FLOAT64, _FLOAT32 = "fedcore, no privacy", "fedcore, float64 noise", "fedcore, float32 noise"
_ISOLATED = "fedcore, isolated"


def _net() -> nn.Module:
    """The 2-layer CNN that pfl-research and FedJAX measure with, without dropout: 1.6 M parameters."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(12544, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = DPMultiheadAttention(width, 4, batch_first=True)
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, inputs: Tensor) -> Tensor:
        normed = self.first(inputs)
        inputs = inputs + self.attention(normed, normed, normed, need_weights=False)[0]
        added: Tensor = self.narrow(functional.gelu(self.wide(self.second(inputs))))
        return inputs + added


class _Transformer(nn.Module):
    """Two blocks of width 64 over 32 tokens of 100."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.blocks, self.head = (
            nn.Embedding(100, 64),
            nn.Sequential(_Block(64), _Block(64)),
            nn.Linear(64, 10),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.blocks(self.tokens(inputs)).mean(1))
        return logits


class _Recurrent(nn.Module):
    """An LSTM of 64 units over 32 tokens of 100."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.cells, self.head = nn.Embedding(100, 32), DPLSTM(32, 64, batch_first=True), nn.Linear(64, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.cells(self.tokens(inputs))[0][:, -1])
        return logits


@dataclass(frozen=True)
class _Case:
    """A model, the shape of its input (tokens where it is one number), a batch and a round's steps."""

    model: Callable[[], nn.Module]
    shape: tuple[int, ...]
    batch: int
    steps: int


_CASES = {
    "cnn": _Case(_net, (3, 32, 32), 10, 5),
    "mlp": _Case(lambda: nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10)), (64,), 256, 50),
    "transformer": _Case(_Transformer, (32,), 64, 5),
    "lstm": _Case(_Recurrent, (32,), 64, 5),
}


class _Task(Classification):
    name = "benchmark"
    labels = tuple(str(label) for label in range(10))

    def __init__(self, case: _Case) -> None:
        self._case = case

    def build_model(self) -> nn.Module:
        torch.manual_seed(0)
        return self._case.model()

    def load_data(self, path: object) -> Examples:
        generator = torch.Generator().manual_seed(0)
        size = (self._case.batch, *self._case.shape)
        tokens = self._case.model in (_Transformer, _Recurrent)
        inputs = torch.randint(0, 100, size, generator=generator) if tokens else torch.randn(size, generator=generator)
        return Examples(
            columns={"inputs": inputs, "targets": torch.randint(0, 10, (self._case.batch,), generator=generator)}
        )


def main() -> None:
    """Print the time of a step each way, ratios, and normals a second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=9, help="turns of every way")
    parser.add_argument("--models", nargs="*", choices=list(_CASES), default=list(_CASES), help="which models")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "Full backward hook is firing")  # at every step of Opacus, over the figures
    for dtype in (torch.float64, torch.float32):
        print(f"normals, {str(dtype).removeprefix('torch.')}: {_normals(dtype) / 1e6:.0f} million a second and core")
    for name in arguments.models:
        _compare(name, _CASES[name], arguments.turns)


def _compare(name: str, case: _Case, turns: int) -> None:
    task = _Task(case)
    ways = {
        _PLAIN: _plain(task),
        _OPEN: _fedcore(task, {}),
        _FLOAT64: _fedcore(task, _privacy(case) | {"noise-precision": "float64"}),
        _FLOAT32: _fedcore(task, _privacy(case) | {"noise-precision": "float32"}),
        _ISOLATED: _fedcore(task, _privacy(case) | {"isolation": "isolated"}),
        _HOOKS: _opacus_hooks(task),
        _GHOST: _opacus_ghost(task),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(turns + 2):
        for way, run in ways.items():
            started = time.process_time()
            run()
            seconds[way].append((time.process_time() - started) / case.steps)
    median = {way: statistics.median(taken[2:]) for way, taken in seconds.items()}
    numbers = sum(p.numel() for p in task.build_model().parameters())
    print(f"\n{name}: {numbers:,} parameters, batch {case.batch}; medians of {turns} turns of {case.steps} steps")
    for way, value in median.items():
        ratios = f"{value / median[_PLAIN]:5.2f} x plain   {median[_HOOKS] / value:5.2f} x as fast as Opacus hooks"
        print(f"  {way:23}{1000 * value:8.2f} ms a step   {ratios}   {median[_GHOST] / value:5.2f} x as fast as ghost")
    level = RowwiseTask(task, task.build_model(), wanted="probed").isolation(task.load_data(None).columns).level
    ratio = median[_ISOLATED] / median[_FLOAT64]
    print(f"  records isolated by construction cost {ratio:.2f} x those whose isolation is {level} (float64 noise)")


def _privacy(case: _Case) -> dict[str, Any]:
    return {
        "unit": "record",
        "noise-multiplier": _NOISE_MULTIPLIER,
        "clip-norm": _CLIP_NORM,
        "sampling-rate": 1.0,
        "nominal-batch": float(case.batch),
        "steps-per-round": case.steps,
        "isolation": "probed",  # the fastest way; where loss and layers allow it, isolation is proven all the same
    }


def _fedcore(task: _Task, privacy: dict[str, Any]) -> Callable[[], None]:
    case = task._case
    training = {"batch-size": case.batch, "local-epochs": case.steps, "max-physical-batch": case.batch}
    plan = RunPlan.from_mapping(
        {
            "task": {"name": "benchmark"},
            "federation": {"clients": 1},
            "aggregation": {"rule": "uniform"},
            "training": {"learning-rate": _LEARNING_RATE, "device": "cpu", **training},
            "privacy": privacy,
        }
    )
    local = LocalModel(task, plan, torch.device("cpu"))
    client = Client(name="c", training=task.load_data(None), held_out=None)
    request = TrainRequest(round=1, attempt=0, cohort=("c",), parameters=local.parameters.clone())

    def run() -> None:
        train_locally(local, client, request)

    return run


def _plain(task: _Task) -> Callable[[], None]:
    model = task.build_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=_LEARNING_RATE)
    return _steps(task, model, optimizer, lambda loss: loss.mean())


def _opacus_hooks(task: _Task) -> Callable[[], None]:
    model = GradSampleModule(task.build_model(), batch_first=True, loss_reduction="sum")
    return _steps(task, model, _private(DPOptimizer, task, model), lambda loss: loss.sum())


def _opacus_ghost(task: _Task) -> Callable[[], None]:
    model = GradSampleModuleFastGradientClipping(
        task.build_model(), batch_first=True, loss_reduction="sum", max_grad_norm=_CLIP_NORM, use_ghost_clipping=True
    )
    optimizer = _private(DPOptimizerFastGradientClipping, task, model)
    criterion = DPLossFastGradientClipping(model, optimizer, nn.CrossEntropyLoss(reduction="sum"), "sum")
    return _steps(task, model, optimizer, None, criterion)


def _private(kind: type[DPOptimizer], task: _Task, model: nn.Module) -> torch.optim.Optimizer:
    optimizer: torch.optim.Optimizer = kind(
        torch.optim.SGD(model.parameters(), lr=_LEARNING_RATE),
        noise_multiplier=_NOISE_MULTIPLIER,
        max_grad_norm=_CLIP_NORM,
        expected_batch_size=task._case.batch,
        loss_reduction="sum",
    )
    return optimizer


def _steps(
    task: _Task,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    reduce: Callable[[Tensor], Tensor] | None,
    criterion: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Callable[[], None]:
    """A loop as one writes it by hand."""
    columns = task.load_data(None).columns
    inputs, targets = columns["inputs"], columns["targets"]

    def run() -> None:
        for _ in range(task._case.steps):
            optimizer.zero_grad()
            outputs = model(inputs)
            if criterion is not None:
                loss = criterion(outputs, targets)
            elif reduce is not None:
                loss = reduce(functional.cross_entropy(outputs, targets, reduction="none"))
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    return run


def _normals(dtype: torch.dtype, size: int = 2**20) -> float:
    randomness = SecureRandomness()
    taken = []
    for _ in range(15):
        started = time.process_time()
        randomness.normal(size, dtype)
        taken.append(time.process_time() - started)
    return size / statistics.median(taken)


if __name__ == "__main__":
    main()
