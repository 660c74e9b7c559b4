"""What the framework costs a client-round: the loop engine against a bare PyTorch loop, in one process and run.

The work is so small (MLP 64-64-10, 20 examples, one epoch of batches of 10: 0.4 MFLOP) that everything but
the framework is next to nothing. Both sides load the model, make the optimizer, train, and add up the
differences; they take turns, so that a busy machine slows both. Run ``python simulations/benchmarks/overhead.py``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from fedcore import Classification, Examples, RunPlan
from fedcore_clients.training.local_model import Client
from fedcore_server.rounds.rounds import close_round, init_state, plan_round
from fedcore_simulations.engines.loop import LoopEngine

_CLIENTS, _ROWS, _BATCH, _LEARNING_RATE = 50, 20, 10, 0.1


class _Tiny(Classification):
    name = "tiny"
    labels = tuple(str(label) for label in range(10))

    def build_model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def load_data(self, path: object) -> Examples:
        return Examples(columns={"inputs": torch.randn(_ROWS, 64), "targets": torch.randint(0, 10, (_ROWS,))})


def main() -> None:
    """Print the median time of a client-round both ways, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40, help="paired rounds of 50 clients")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    task = _Tiny()
    data = [task.load_data(None) for _ in range(_CLIENTS)]
    plan = RunPlan.from_mapping(
        {
            "task": {"name": "tiny"},
            "federation": {"clients": _CLIENTS},
            "aggregation": {"rule": "mean"},
            "training": {"learning-rate": _LEARNING_RATE, "batch-size": _BATCH, "device": "cpu"},
        }
    )
    clients = [Client(name=f"c{i:02d}", training=rows, held_out=None) for i, rows in enumerate(data)]
    with LoopEngine(task, plan, clients, num_workers=1, device=torch.device("cpu")) as engine:
        ours, bare = _fedcore_round(task, plan, engine), _bare_round(task, data)
        pairs = [(_seconds(bare), _seconds(ours)) for _ in range(rounds + 3)][3:]
    slow, fast = ([1e6 * pair[side] / _CLIENTS for pair in pairs] for side in (1, 0))
    ratio = statistics.median(pair[1] / pair[0] for pair in pairs)
    print(f"bare PyTorch loop  {statistics.median(fast):8.0f} us a client-round")
    print(f"fedcore, loop      {statistics.median(slow):8.0f} us a client-round")
    print(f"ratio              {ratio:8.2f}  (median of {rounds} paired rounds of {_CLIENTS} clients, one core)")


def _fedcore_round(task: _Tiny, plan: RunPlan, engine: LoopEngine) -> Callable[[], None]:
    state = init_state(task, plan)

    def round_() -> None:
        request = plan_round(state, plan, engine.available())
        close_round(state, plan, request, engine.train(request))

    return round_


def _bare_round(task: _Tiny, data: list[Examples]) -> Callable[[], None]:
    """FedAvg as one writes it in a notebook."""
    model = task.build_model()
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def round_() -> None:
        total = {name: torch.zeros_like(tensor) for name, tensor in start.items()}
        for examples in data:
            model.load_state_dict(start)
            optimizer = torch.optim.SGD(model.parameters(), lr=_LEARNING_RATE)
            inputs, targets = examples.columns["inputs"], examples.columns["targets"]
            order = torch.randperm(_ROWS)
            for first in range(0, _ROWS, _BATCH):
                rows = order[first : first + _BATCH]
                optimizer.zero_grad()
                functional.cross_entropy(model(inputs[rows]), targets[rows]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            for name, tensor in model.state_dict().items():
                total[name] += _ROWS * (tensor - start[name])

    return round_


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
