"""Which clients evaluate a model, and how sure its metrics are where these are a sample."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedcore.audit.statistics.intervals import student_quantile
from fedcore.metrics import Metrics
from fedcore.plan import RunPlan
from fedcore.privacy.evaluation import ACCURACY
from fedcore.seeding import numpy_generator


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledClients:
    """An evaluation on a simple random sample of the clients.

    Attributes:
        clients: Clients whose reports were counted.
        of: Clients that could have been drawn.
        intervals: For each metric the interval of its mean over the held-out rows of all of them; absent for a metric
            that fewer than two clients have.
    """

    clients: int
    of: int
    confidence: float
    intervals: Mapping[str, tuple[float, float]]

    def to_json(self) -> dict[str, Any]:
        intervals = {name: list(interval) for name, interval in self.intervals.items()}
        return {"clients": self.clients, "of": self.of, "confidence": self.confidence, "intervals": intervals}

    def words(self) -> str:
        """For a list of warnings."""
        reach = ", ".join(f"{name} {low:.4g} to {high:.4g}" for name, (low, high) in self.intervals.items())
        between = f"; for all of them with {100 * self.confidence:g} % confidence {reach}" if reach else ""
        return f"the released model was evaluated on {self.clients} of {self.of} clients, drawn at random{between}"


def choose_evaluated(
    available: Sequence[str], plan: RunPlan, *, round: int, attempt: int, last: bool
) -> tuple[str, ...]:
    """The clients that evaluate a round's model, sorted; the same for the same plan, round and clients.

    All of them judge the untrained model, by which hooks judge the data, and the last one of a run with an audit: its
    intervals are over rows, and would be too narrow for a sample of clients.
    """
    names, size = sorted(available), plan.federation.evaluate_clients
    audited = bool(plan.audit.sensitive or plan.audit.hooks)
    if size is None or size >= len(names) or round == 0 or (last and audited):
        return tuple(names)
    generator = numpy_generator(plan.federation.seed, "evaluated", round, attempt)
    return tuple(sorted(names[index] for index in generator.choice(len(names), size, replace=False)))


def sampled(reports: Sequence[Metrics], *, of: int, confidence: float) -> SampledClients:
    """Intervals of ratios of sums over clients, by linearisation and with the correction for a finite population.

    Source: Cochran 1977, Sampling Techniques, 3rd edition, chapter 6, with Student's t for the sampled clients.
    """
    names = {name: None for report in reports for name in report.sums}
    found = {name: _interval(name, reports, of, confidence) for name in names}
    return SampledClients(
        clients=len(reports),
        of=of,
        confidence=confidence,
        intervals={name: interval for name, interval in found.items() if interval is not None},
    )


def _interval(name: str, reports: Sequence[Metrics], of: int, confidence: float) -> tuple[float, float] | None:
    pairs = [(report.sums[name], report.counts[name]) for report in reports if report.counts.get(name, 0) > 0]
    drawn, rows = len(pairs), sum(count for _, count in pairs)
    if drawn < 2:
        return None
    ratio = sum(total for total, _ in pairs) / rows
    spread = sum((total - ratio * count) ** 2 for total, count in pairs) / (drawn - 1)
    error = math.sqrt(max(0.0, 1 - drawn / of) * spread * drawn) / rows
    reach = student_quantile(confidence, drawn - 1) * error
    low, high = ratio - reach, ratio + reach
    return (max(0.0, low), min(1.0, high)) if name == ACCURACY else (low, high)
