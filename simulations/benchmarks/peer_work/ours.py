"""fedcore's row: the whole path of ``simulate``, in turns with the bare loop."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedcore import RunPlan
from fedcore_simulations import simulate
from fedcore_simulations.preparation import prepare
from peer_work.bare import BareLoop, OpacusLoop, start_of
from peer_work.limit import limit_of
from peer_work.works import WORKS, Made, plan_of

WARM = 2
"""Pairs at the beginning that do not count."""


@dataclass
class Alternating:
    """A listener: after each turn of fedcore the bare loop takes as many rounds, and both are timed.

    A turn of a short work has several rounds, so that neither is timed while it fills the caches anew.

    Attributes:
        pairs: Seconds a round, of the bare loop and of fedcore, in each pair of turns.
    """

    bare: BareLoop
    turn: int
    name: str = "alternating"
    pairs: list[tuple[float, float]] = field(default_factory=list)
    _since: float = 0.0
    _rounds: int = 0

    def run_begins(self, plan: RunPlan, beginning: Any) -> None:
        self._since = time.perf_counter()

    def round_closed(self, line: Mapping[str, Any]) -> None:
        self._rounds += 1
        if self._rounds % self.turn:
            return
        ours = time.perf_counter() - self._since
        work = [self.bare.prepared() for _ in range(self.turn)]
        started = time.perf_counter()
        for each in work:
            each()
        self._since = time.perf_counter()
        self.pairs.append(((self._since - started) / self.turn, ours / self.turn))

    def run_ends(self, ending: Any) -> None:
        pass


def measured(name: str, engine: str, *, workers: int, rounds: int) -> dict[str, Any]:
    """Medians over pairs of turns, without the first few and the last, which is evaluated."""
    work, task = WORKS[name], Made(WORKS[name])
    plan = plan_of(name, engine, workers=workers, rounds=rounds * work.turn)
    ready = prepare(task, plan)
    kind = OpacusLoop if work.private else BareLoop
    listener = Alternating(kind(task, ready.plan, ready.clients, start_of(task, ready.plan)), work.turn)
    with tempfile.TemporaryDirectory() as directory:
        result = simulate(task, plan, out=Path(directory) / "run", listeners=[listener])
    engine = f"{result.summary['engine']}, {workers} worker{'s' * (workers > 1)}"
    difference = None if work.private else listener.bare.difference(result.model.state_dict())
    return row(name, engine, listener.pairs[WARM:-1], difference) | {"model_sha256": result.summary["model_sha256"]}


def row(name: str, engine: str, pairs: Sequence[tuple[float, float]], difference: float | None) -> dict[str, Any]:
    """A line of the table, from seconds of the bare loop and of the engine a round, in each pair."""
    cohort = WORKS[name].cohort
    bare, own = (1e3 * statistics.median(pair[side] for pair in pairs) / cohort for side in (0, 1))
    limit = limit_of(name)
    return {
        "engine": engine,
        "milliseconds_per_client_round": round(own, 4),
        "bare_milliseconds": round(bare, 4),
        "times_bare_loop": round(statistics.median(pair[0] / pair[1] for pair in pairs), 2),
        "fraction_of_limit": round(limit.milliseconds / own, 3),
        "gigaflops_of_limit": round(limit.flops_per_second / 1e9, 1),
        "pairs": len(pairs),
        "largest_difference": difference,
    }
