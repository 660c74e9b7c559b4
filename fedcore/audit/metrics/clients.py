"""How evenly a model serves clients: another question than how it serves groups of people."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedcore.audit.metrics.estimates import Measure
from fedcore.audit.metrics.rates import Rate
from fedcore.audit.statistics.client_intervals import Counts, gini_interval, worst_decile, worst_decile_interval
from fedcore.audit.statistics.intervals import Interval
from fedcore.audit.statistics.mean_rates import mean_interval

_STEPS = 1000
"""Ends of intervals are rounded to multiples of one over this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSpread:
    """Accuracy over clients, each counted once; None if no client has enough rows.

    Clients of fewer than ``min_cell`` rows are only counted in ``too_few_rows``: an accuracy over so few rows would
    reveal single ones. The intervals are about these clients on other rows, not about other clients.

    Attributes:
        too_few_rows: Clients that were evaluated on fewer than ``min_cell`` rows, 0 among them.
        worst_decile: Mean accuracy of the tenth of clients that is served worst, of one client at least.
        gini: Gini coefficient: 0 if all are served equally; None if no row of any is predicted correctly.
        best: Name and accuracy of the client that is served best, with its interval taken alone.
    """

    judged: int
    too_few_rows: int
    mean: Measure | None = None
    worst_decile: Measure | None = None
    gini: Measure | None = None
    best: tuple[str, Rate] | None = None
    worst: tuple[str, Rate] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return ``{metric, judged, too_few_rows, mean, worst_decile, gini, best, worst}``.

        A figure is ``{value, low, high}``, its ends rounded outwards to a tenth of a point. The best and the worst
        client are shown with their rows: suppression covers groups, not clients.
        """
        return {
            "metric": "accuracy",
            "judged": self.judged,
            "too_few_rows": self.too_few_rows,
            "mean": _figure(self.mean),
            "worst_decile": _figure(self.worst_decile),
            "gini": _figure(self.gini),
            "best": _rounded_out(self.best),
            "worst": _rounded_out(self.worst),
        }


def client_spread(accuracies: Mapping[str, Rate], *, min_cell: int, confidence: float = 0.95) -> ClientSpread:
    """Compare clients by accuracy over held-out rows, counted without noise; those under ``min_cell`` are left out.

    Sources: the worst decile Li, T. et al. (2020), "Fair resource allocation in federated learning", arXiv
    1905.10497; the coefficient Gini, C. (1912), "Variabilità e mutabilità".
    """
    judged = {name: rate for name, rate in accuracies.items() if rate.n >= max(1, min_cell)}
    too_few = len(accuracies) - len(judged)
    if not judged:
        return ClientSpread(judged=0, too_few_rows=too_few)
    order = sorted(judged, key=lambda name: (judged[name].fraction or 0, name))
    successes, rows = np.array([(judged[name].successes, judged[name].n) for name in order]).T
    values = successes / rows

    def measured(value: float | None, interval: Callable[..., Interval]) -> Measure | None:
        return None if value is None else _measure(value, interval, successes, rows, confidence)

    return ClientSpread(
        judged=len(values),
        too_few_rows=too_few,
        mean=measured(math.fsum(values) / len(values), mean_interval),
        worst_decile=measured(worst_decile(values), worst_decile_interval),
        gini=measured(gini(values.tolist()), gini_interval),
        best=(order[-1], judged[order[-1]]),
        worst=(order[0], judged[order[0]]),
    )


def gini(rising: Sequence[float]) -> float | None:
    """Return ``sum_ij |x_i - x_j| / (2 n^2 mean)`` of rising values of 0 or more; None if all are 0."""
    n, total = len(rising), math.fsum(rising)
    if not total:
        return None
    return math.fsum((2 * place - n + 1) * value for place, value in enumerate(rising)) / (n * total)


def _measure(
    value: float, interval: Callable[..., Interval], successes: Counts, rows: Counts, confidence: float
) -> Measure:
    ends = interval(successes, rows, confidence=confidence)
    return Measure(value=value, low=ends.low, high=ends.high, n=int(rows.sum()))


def _figure(found: Measure | None) -> dict[str, Any] | None:
    if found is None or found.low is None or found.high is None:
        return None
    low, high = (math.floor(found.low * _STEPS) / _STEPS, math.ceil(found.high * _STEPS) / _STEPS)
    return {"value": found.value, "low": low, "high": high}


def _rounded_out(one: tuple[str, Rate] | None) -> dict[str, Any] | None:
    if one is None:
        return None
    name, rate = one
    return {"client": name, "value": rate.value, "low": rate.low, "high": rate.high, "n": rate.n}
