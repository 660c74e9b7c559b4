"""Metrics as sums, so that the metric of a federation is the metric of its pooled rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Weighted sums by name, closed under ``+``, with the number of rows (or tokens) summed.

    Sum first, divide last: averaging the clients' averages would weigh a client of 3 rows like one of 3,000.
    """

    sums: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, float] = field(default_factory=dict)

    def __add__(self, other: Metrics) -> Metrics:
        return Metrics(sums=_add(self.sums, other.sums), counts=_add(self.counts, other.counts))

    def means(self) -> dict[str, float]:
        """Sum over count for each name; a name without rows is left out, not set to zero."""
        return {name: total / self.counts[name] for name, total in self.sums.items() if self.counts[name] > 0}


def _add(left: Mapping[str, float], right: Mapping[str, float]) -> dict[str, float]:
    return {name: left.get(name, 0.0) + right.get(name, 0.0) for name in {**left, **right}}
