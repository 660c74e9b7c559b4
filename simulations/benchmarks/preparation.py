"""What it takes to prepare a simulation of many clients: seconds, and the memory of the process at its peak.

Ten rows of twenty numbers with an attribute are dealt to each client. The memory is that of the whole process, PyTorch
included. Run ``python simulations/benchmarks/preparation.py --clients 100000``.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time

import torch
from torch import nn

from fedcore import Attribute, Classification, Examples, RunPlan
from fedcore_simulations.preparation import prepare

_ROWS, _FEATURES = 10, 20


class _Many(Classification):
    name = "many"
    labels: tuple[str, ...] = ("no", "yes")

    def __init__(self, clients: int) -> None:
        self._rows = clients * _ROWS

    def build_model(self) -> nn.Module:
        return nn.Linear(_FEATURES, 2)

    def load_data(self, path: object) -> Examples:
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randn(self._rows, _FEATURES, generator=generator)
        codes = torch.randint(0, 2, (self._rows,), generator=generator)
        sex = Attribute(codes=codes, vocabulary=("female", "male", "unknown"))
        return Examples(columns={"inputs": inputs, "targets": (inputs[:, 0] > 0).long()}, attributes={"sex": sex})


def main() -> None:
    """Print how long the preparation took, and the process's peak memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=100_000)
    parser.add_argument("--partition", default="iid")
    options = parser.parse_args()
    plan = RunPlan.from_mapping(
        {
            "federation": {"clients": options.clients, "partition": options.partition},
            "training": {"device": "cpu"},
            "audit": {"sensitive": ["sex"]},
        }
    )
    started = time.perf_counter()
    ready = prepare(_Many(options.clients), plan)
    seconds = time.perf_counter() - started
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
    print(f"{len(ready.clients):,} clients x {_ROWS} rows: {seconds:.1f} s, {peak:,.0f} MiB at the peak")


if __name__ == "__main__":
    main()
