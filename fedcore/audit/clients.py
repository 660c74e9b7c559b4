"""How evenly a model serves clients: another question than how it serves groups of people, and never mixed with it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedcore.audit.rates import Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSpread:
    """Accuracy over clients, each counted once; None where no client has rows enough.

    Clients of fewer than ``min_cell`` rows are counted in ``too_few_rows`` and in nothing else: an accuracy of so
    few rows tells of single ones. The figures describe these clients and have no interval, but those of the best and
    the worst client have Wilson's.

    Attributes:
        judged: Clients that the figures are of.
        too_few_rows: Clients that were evaluated on fewer than ``min_cell`` rows, 0 among them.
        mean: Mean accuracy of a client.
        worst_decile: Mean accuracy of the tenth of clients that is served worst, of one client at least.
        gini: Gini coefficient: 0 if all are served alike.
        best: Name and accuracy of the client that is served best.
        worst: Name and accuracy of the client that is served worst.
    """

    judged: int
    too_few_rows: int
    mean: float | None = None
    worst_decile: float | None = None
    gini: float | None = None
    best: tuple[str, Rate] | None = None
    worst: tuple[str, Rate] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return ``{metric, judged, too_few_rows, mean, worst_decile, gini, best, worst}``."""
        return {
            "metric": "accuracy",
            "judged": self.judged,
            "too_few_rows": self.too_few_rows,
            "mean": self.mean,
            "worst_decile": self.worst_decile,
            "gini": self.gini,
            "best": _told(self.best),
            "worst": _told(self.worst),
        }


def client_spread(accuracies: Mapping[str, Rate], *, min_cell: int) -> ClientSpread:
    """Compare clients.

    Args:
        accuracies: Of each client by name, over its held-out rows.
        min_cell: Clients of fewer rows are left out.

    Sources: the worst decile Li, T. et al. (2020), "Fair resource allocation in federated learning", arXiv
    1905.10497; the coefficient Gini, C. (1912), "Variabilità e mutabilità".
    """
    judged = {name: rate for name, rate in accuracies.items() if rate.n >= max(1, min_cell)}
    too_few = len(accuracies) - len(judged)
    if not judged:
        return ClientSpread(judged=0, too_few_rows=too_few)
    order = sorted(judged, key=lambda name: (judged[name].fraction or 0, name))
    values = [rate.successes / rate.n for rate in map(judged.__getitem__, order)]
    last = values[: math.ceil(len(values) / 10)]
    return ClientSpread(
        judged=len(values),
        too_few_rows=too_few,
        mean=math.fsum(values) / len(values),
        worst_decile=math.fsum(last) / len(last),
        gini=gini(values),
        best=(order[-1], judged[order[-1]]),
        worst=(order[0], judged[order[0]]),
    )


def gini(rising: Sequence[float]) -> float | None:
    """Return ``sum_ij |x_i - x_j| / (2 n^2 mean)`` of rising values of 0 or more; None if all are 0."""
    n, total = len(rising), math.fsum(rising)
    if not total:
        return None
    return math.fsum((2 * place - n + 1) * value for place, value in enumerate(rising)) / (n * total)


def _told(one: tuple[str, Rate] | None) -> dict[str, Any] | None:
    if one is None:
        return None
    name, rate = one
    return {"client": name, "value": rate.value, "low": rate.low, "high": rate.high, "n": rate.n}
