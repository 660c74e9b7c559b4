"""What each mitigation does on real data, and what it costs: the Adult census with 20 clients, over several seeds.

One table for each partition: ``iid``, where clients are alike and groups of people are the question, and
``dirichlet:0.5``, where clients differ in how often they see a high income and the worst served of them are. A seed
draws the held-out rows, the partition and the first model; every method has the same ones. Beside a figure stands the
mean difference to no mitigation on the same seed, with * where its 95 % interval over the seeds (Student's t, each
figure taken alone) leaves out 0; a method without one has shown nothing on these data.

Run ``python simulations/benchmarks/mitigation.py``; about five minutes on one core, with ``--help`` for less.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from fedcore.audit.metrics.gaps import Gap
from fedcore.audit.metrics.rates import Rate
from fedcore.audit.tables.groups import UNKNOWN
from fedcore.errors import FedcoreError
from fedcore_simulations import SimulationResult, simulate

_DATA = Path("../shared/data/adult.csv")
_SOURCE = "https://archive.ics.uci.edu/dataset/2/adult"
_CLIENTS, _ROUNDS, _LEARNING_RATE = 20, 10, 1.0
_QUESTIONS = {"iid": "clients alike", "dirichlet:0.5": "clients that differ in their labels"}
_COLUMNS = ("accuracy", "selection gap", "true pos. gap", "worst group", "worst tenth")
_NONE = "none"


@dataclass(frozen=True, kw_only=True)
class _Arm:
    """A way to train.

    Attributes:
        algorithm: The plan's section.
        aggregation: The plan's section.
        audit: Keys of the plan's section beside the attribute.
    """

    algorithm: Mapping[str, Any] = field(default_factory=dict)
    aggregation: Mapping[str, Any] = field(default_factory=dict)
    audit: Mapping[str, Any] = field(default_factory=dict)


_WITHIN = {"limits": [{"metric": "true_positive_rate", "kind": "difference", "at-most": 0.2}]}
_ARMS = {
    _NONE: _Arm(),
    "none, clients weigh the same": _Arm(aggregation={"rule": "uniform"}),
    "reweighing": _Arm(algorithm={"name": "reweighing"}),
    "reweighing, best round": _Arm(
        algorithm={"name": "reweighing"}, audit={**_WITHIN, "gate": "report", "checkpoint": "within-limits"}
    ),
    "fedminmax, step 0.5": _Arm(algorithm={"name": "fedminmax:0.5"}),
    "fairfed, step 0.1": _Arm(algorithm={"name": "fairfed", "options": {"step": 0.1}}),
    "agnostic, step 0.02": _Arm(algorithm={"name": "agnostic:0.02"}),
    "q-fedavg, q 0.1": _Arm(algorithm={"name": "q-fedavg:0.1"}),
}

Figures = tuple[float | None, ...]
"""In percent and points, in the order of the columns; None where it is not measured."""


def main() -> None:
    """Print a table for each partition."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=_DATA, help=f"adult.csv (default: {_DATA})")
    parser.add_argument("--seeds", type=int, default=5, help="runs of every method, at least 2")
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help="rounds of a run")
    parser.add_argument("--partitions", nargs="*", choices=list(_QUESTIONS), default=list(_QUESTIONS))
    asked = parser.parse_args()
    if asked.seeds < 2:
        parser.error(f"--seeds must be 2 or more, to tell how figures vary, not {asked.seeds}")
    if not asked.data.is_file():
        parser.error(f"there is no file {asked.data}; give the Adult census as CSV with --data ({_SOURCE})")
    torch.set_num_threads(1)
    print(f"adult.csv, {_CLIENTS} clients, {asked.rounds} rounds, {asked.seeds} seeds; groups by sex")
    print("accuracies in percent, gaps in points: means over the seeds, of none with their standard deviation, of the")
    print("others with the difference to none in parentheses")
    for partition in asked.partitions:
        try:
            outcomes = _outcomes(asked.data, partition, asked.rounds, asked.seeds)
        except FedcoreError as error:
            sys.exit(f"error: {error}")
        print(f"\n{partition}: {_QUESTIONS[partition]}")
        print("\n".join(_lines(outcomes)))
    print("\n* beyond what seeds alone do")


def _outcomes(data: Path, partition: str, rounds: int, seeds: int) -> dict[str, list[Figures]]:
    """Run every arm with every seed, the arms in turn, so that a busy machine is no method's fate."""
    found: dict[str, list[Figures]] = {name: [] for name in _ARMS}
    turns = [(seed, name) for seed in range(seeds) for name in _ARMS]
    for seed, name in track(turns, description=partition, console=Console(stderr=True), transient=True):
        found[name].append(_outcome(_simulated(_ARMS[name], data, partition, rounds, seed)))
    return found


def _simulated(arm: _Arm, data: Path, partition: str, rounds: int, seed: int) -> SimulationResult:
    federation = {"clients": _CLIENTS, "rounds": rounds, "partition": partition, "seed": seed}
    return simulate(
        "tabular",
        {
            "task": {"data": str(data), "options": {"label": "income-per-year"}},
            "federation": federation,
            "training": {"learning-rate": _LEARNING_RATE, "device": "cpu"},
            "audit": {"sensitive": ["sex"], **arm.audit},
            "algorithm": dict(arm.algorithm),
            "aggregation": dict(arm.aggregation),
            "engine": {"workers": 1},
        },
    )


def _outcome(result: SimulationResult) -> Figures:
    bias = result.audit
    if bias is None or bias.clients is None:
        raise RuntimeError("the run was not audited")
    audit, tenth = bias.audits["sex"], bias.clients.worst_decile
    figures = _figures(audit.overall["accuracy"].value, audit.gaps, audit.groups["accuracy"])
    return (*figures, None if tenth is None or tenth.value is None else 100 * tenth.value)


def _figures(accuracy: float | None, gaps: Mapping[str, Gap], groups: Mapping[str, Rate]) -> Figures:
    known = [rate.value for group, rate in groups.items() if group != UNKNOWN and rate.value is not None]
    shares = (
        accuracy,
        gaps["selection_rate"].difference,
        gaps["true_positive_rate"].difference,
        min(known, default=None),
    )
    return tuple(None if share is None else 100 * share for share in shares)


def _lines(outcomes: Mapping[str, Sequence[Figures]]) -> Iterator[str]:
    width = max(map(len, outcomes))
    yield "  ".join(["method".ljust(width), *(column.rjust(15) for column in _COLUMNS)])
    plain = outcomes[_NONE]
    for name, runs in outcomes.items():
        cells = [_cell(column, name, runs, plain) for column in range(len(_COLUMNS))]
        yield "  ".join([name.ljust(width), *(cell.rjust(15) for cell in cells)]).rstrip()


def _cell(column: int, name: str, runs: Sequence[Figures], plain: Sequence[Figures]) -> str:
    values = [value for run in runs if (value := run[column]) is not None]
    if len(values) < len(runs):
        return "-"
    if name == _NONE:
        return f"{statistics.mean(values):.1f} ±{statistics.stdev(values):.1f}"
    before = [run[column] for run in plain]
    changes = [value - was for value, was in zip(values, before, strict=True) if was is not None]
    mark = "*" if _beyond_chance(changes) else " "
    return f"{statistics.mean(values):.1f} ({statistics.mean(changes):+z.1f}){mark}"


def _beyond_chance(changes: Sequence[float]) -> bool:
    """Whether Student's 95 % interval of the mean change leaves out 0."""
    from scipy.stats import t

    reach = float(t.ppf(0.975, len(changes) - 1)) * statistics.stdev(changes) / math.sqrt(len(changes))
    return abs(statistics.mean(changes)) > reach


if __name__ == "__main__":
    main()
