"""What the sum of large updates costs a server, set against the memory bandwidth of the machine.

Closes the second round of FedAvg over replies that are in memory: the gate (norms, finite numbers, metrics), the
streaming mean, and the model's step. A number of an update has to be read twice, for its norm and for the sum, and its
sum in float64 to be read and written: 24 bytes. The bandwidth is that of ``sum += alpha * other`` in float64, measured
in the same process with one thread, in turns with the rounds.

python simulations/benchmarks/aggregation.py
python simulations/benchmarks/aggregation.py --numbers 1000000 --clients 500 --json
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from big_model import BigModel
from torch import Tensor

from fedcore import RunPlan
from fedcore.messages import ClientUpdate, TrainRequest
from fedcore.plan.resolve import DataFacts, resolve
from fedcore_server.rounds.rounds import close_round, init_state, plan_round

_BYTES = {"norm": 4, "update": 4, "sum, read and written": 16}


def replies(request: TrainRequest, updates: list[Tensor]) -> Iterator[ClientUpdate]:
    for place, client in enumerate(request.cohort):
        values = {"update": updates[place % len(updates)]}
        yield ClientUpdate(client=client, round=request.round, values=values, num_examples=10 + place)


def bandwidth(size: int) -> float:
    """Bytes a second of a sum in float64, the best of five."""
    total, other = torch.zeros(size, dtype=torch.float64), torch.ones(size, dtype=torch.float64)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        total.add_(other, alpha=0.5)
        seconds.append(time.perf_counter() - started)
    return 24 * size / min(seconds)


def peak_memory() -> int:
    """Bytes of memory that the process has held at most, since `forget_peak`."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    return 1024 * int(found[1]) if found else 0


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def measured(numbers: int, clients: int, repeats: int) -> dict[str, Any]:
    """Medians over rounds, each with a measurement of the bandwidth before it."""
    mapping = {"task": {"name": "big_model:BigModel"}, "federation": {"clients": clients, "cohort-size": clients}}
    plan = resolve(RunPlan.from_mapping(mapping), DataFacts(clients=clients, rows_per_client=10.0))
    state = init_state(BigModel(numbers), plan)
    request = plan_round(state, plan, [f"client-{number}" for number in range(clients)])
    updates = [torch.randn(numbers, generator=torch.Generator().manual_seed(seed)) for seed in range(2)]
    state, _ = close_round(state, plan, request, replies(request, updates))  # sets the first updates aside
    request = plan_round(state, plan, request.cohort)
    shares, seconds, rates, peaks = [], [], [], []
    for _ in range(repeats):
        rates.append(bandwidth(numbers))
        forget_peak()
        before, started = peak_memory(), time.perf_counter()
        _, report = close_round(state, plan, request, replies(request, updates))
        seconds.append(time.perf_counter() - started)
        peaks.append((peak_memory() - before) / (4 * numbers))
        if len(report.counted) != clients:
            raise SystemExit(f"expected {clients} updates in the sum, found {len(report.counted)}")
        shares.append(sum(_BYTES.values()) * numbers * clients / seconds[-1] / rates[-1])
    return {
        "numbers": numbers,
        "updates": clients,
        "seconds": round(statistics.median(seconds), 3),
        "gigabytes_per_second": round(statistics.median(rates) / 1e9, 1),
        "fraction_of_bandwidth": round(statistics.median(shares), 2),
        "peak_in_models": round(max(peaks), 2),
    }


def main() -> None:
    """Print one line, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--numbers", type=int, default=25_000_000, help="size of an update; default 25 million")
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = measured(asked.numbers, asked.clients, asked.repeats)
    if asked.json:
        print(json.dumps(found))
        return
    print(
        f"{found['updates']} updates of {found['numbers']:,} numbers in {found['seconds']} s: "
        f"{found['fraction_of_bandwidth']:.0%} of {found['gigabytes_per_second']} GB/s; "
        f"{found['peak_in_models']} models of memory beside the model and the replies"
    )


if __name__ == "__main__":
    main()
