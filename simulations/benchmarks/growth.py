"""What a client-round costs as the federation grows, and as the cohort grows: both should stay flat.

Each size runs in a process of its own, through the whole of `simulate`: W2's model (perceptron 64-64-10) with 20 rows a
client, 5.3 kB, with the batched engine on one worker and as many evaluated clients as there are in a cohort. The memory
is the peak of the whole process, PyTorch included. Seconds to the first round include imports, data and preparation.

python simulations/benchmarks/growth.py
python simulations/benchmarks/growth.py --clients 100 --clients 1000 --cohort 10 --cohort 100 --json
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Mapping
from typing import Any

_FIXED_COHORT, _FIXED_CLIENTS, _ROWS, _WARM = 100, 10_000, 20, 2


class Times:
    """A listener: the seconds of each round."""

    name = "times"

    def __init__(self) -> None:
        self.started = self.since = time.perf_counter()
        self.first = 0.0
        self.seconds: list[float] = []

    def run_begins(self, plan: Any, beginning: Any) -> None:
        self.since = time.perf_counter()

    def round_closed(self, line: Mapping[str, Any]) -> None:
        now = time.perf_counter()
        self.first = self.first or now - self.started
        self.seconds.append(now - self.since)
        self.since = now

    def run_ends(self, ending: Any) -> None:
        pass


def measured(clients: int, cohort: int, rounds: int) -> dict[str, Any]:
    """One size, in this process."""
    times = Times()
    import torch
    from peer_work.works import Made, Work

    from fedcore import RunPlan
    from fedcore_simulations import simulate

    torch.set_num_threads(1)
    sizes = (_ROWS, _ROWS)
    work = Work(about="growth", model="perceptron", clients=clients, cohort=cohort, sizes=sizes, inputs=(64,))
    plan = RunPlan.from_mapping(
        {
            "federation": {
                "clients": clients,
                "cohort-size": cohort,
                "rounds": rounds,
                "evaluate-every": rounds,
                "evaluate-clients": min(clients, cohort),
            },
            "training": {"learning-rate": 0.1, "batch-size": 10, "device": "cpu"},
            "engine": {"name": "batched", "workers": 1},
        }
    )
    simulate(Made(work), plan, listeners=[times])
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    return {
        "clients": clients,
        "cohort": cohort,
        "seconds_to_first_round": round(times.first, 2),
        "milliseconds_per_client_round": round(1e3 * statistics.median(times.seconds[_WARM:-1]) / cohort, 4),
        "mebibytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20),
    }


def main() -> None:
    """Print a table in Markdown, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", action="append", type=int, help="default: 100, 1,000, 10,000 and 100,000")
    parser.add_argument("--cohort", action="append", type=int, help="default: 10, 30, 100, 300 and 1,000")
    parser.add_argument("--rounds", type=int, default=13, help="the first two and the last do not count")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    federations = asked.clients or [100, 1_000, 10_000, 100_000]
    sizes = [(clients, min(clients, _FIXED_COHORT)) for clients in federations]
    sizes += [(_FIXED_CLIENTS, cohort) for cohort in asked.cohort or [10, 30, 100, 300, 1000]]
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        rows = [pool.apply(measured, (*size, asked.rounds)) for size in sizes]
    if asked.json:
        print(json.dumps(rows))
        return
    print("| Clients | Cohort | Seconds to the first round | ms a client-round | MiB at the peak |")
    print("| --- | --- | --- | --- | --- |")
    for row in rows:
        print("| " + " | ".join(f"{value:,}" for value in row.values()) + " |")


if __name__ == "__main__":
    main()
