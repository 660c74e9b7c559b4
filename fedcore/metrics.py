"""Metrics as sums, so that the metric of a federation is the metric of its pooled rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricColumns:
    """The metrics of some clients: for each name a number for each of them.

    Attributes:
        sums: Weighted sums by name.
        counts: The numbers of rows summed, by name.
    """

    sums: Mapping[str, Sequence[float]] = field(default_factory=dict)
    counts: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @classmethod
    def of(cls, metrics: Metrics) -> MetricColumns:
        """Of one client."""
        return cls(
            sums={name: (total,) for name, total in metrics.sums.items()},
            counts={name: (count,) for name, count in metrics.counts.items()},
        )

    @classmethod
    def joined(cls, parts: Sequence[MetricColumns]) -> MetricColumns:
        """Of at least one part.

        Raises:
            ValueError: They do not all have the same names.
        """
        if any(each.sums.keys() != parts[0].sums.keys() for each in parts):
            raise ValueError("expected metrics of the same names")
        return cls(
            sums={name: [each for part in parts for each in part.sums[name]] for name in parts[0].sums},
            counts={name: [each for part in parts for each in part.counts[name]] for name in parts[0].counts},
        )

    def rows(self, which: Sequence[int]) -> MetricColumns:
        return MetricColumns(
            sums={name: [column[row] for row in which] for name, column in self.sums.items()},
            counts={name: [column[row] for row in which] for name, column in self.counts.items()},
        )

    def added_to(self, total: Metrics) -> Metrics:
        """Added one after the other, so that the sum does not depend on how clients are gathered in blocks."""
        return Metrics(sums=_with_columns(total.sums, self.sums), counts=_with_columns(total.counts, self.counts))


def _with_columns(total: Mapping[str, float], columns: Mapping[str, Sequence[float]]) -> dict[str, float]:
    found = dict(total)
    for name, column in columns.items():
        number = found.get(name, 0.0)
        for each in column:  # `sum` rounds otherwise from Python 3.12 on
            number += each
        found[name] = number
    return found


def _add(left: Mapping[str, float], right: Mapping[str, float]) -> dict[str, float]:
    return {name: left.get(name, 0.0) + right.get(name, 0.0) for name in {**left, **right}}
