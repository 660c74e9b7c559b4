"""The numbers of one finished run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedcore.report.comparison.settings import Settings, seed_of, settings_of
from fedcore.report.page.run_record import RunRecord
from fedcore.report.page.wording import Quantity

EPSILON, WORST, SECONDS, SIMULATED, SENT, RECEIVED, ENERGY = (
    "epsilon", "worst_group", "seconds", "simulated_seconds", "bytes_sent", "bytes_received", "energy_kwh",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRun:
    """One finished run.

    Attributes:
        name: Name of its directory.
        settings: What was asked, but for the seed.
        headline: The first metric of the task; None if nothing was evaluated.
    """

    name: str
    record: RunRecord
    settings: Settings
    seed: int
    headline: str | None

    @classmethod
    def of(cls, name: str, record: RunRecord) -> ComparedRun:
        return cls(
            name=name, record=record, settings=settings_of(record), seed=seed_of(record), headline=record.headline
        )

    @property
    def task(self) -> str:
        return str(self.settings.get("task.name"))

    @property
    def verdict(self) -> str | None:
        return self.record.summary.get("audit_verdict")

    def figures(self) -> dict[str, float]:
        """Figures by name; those that the run does not have are left out."""
        summary = self.record.summary
        found = {
            **_metrics(self.record, self.headline),
            WORST: _worst_group(self.record),
            EPSILON: summary.get("epsilon"),
            SECONDS: seconds_of(self.record),
            SIMULATED: summary.get("simulated_seconds"),
            SENT: summary.get("bytes_sent"),
            RECEIVED: summary.get("bytes_received"),
            ENERGY: summary.get("energy_kwh"),
        }
        found |= _per_kwh(found, self.headline)
        return {name: float(value) for name, value in found.items() if value is not None}


def quantity_of(name: str, run: ComparedRun) -> Quantity:
    """How a figure is written: that of the worst group as the metric of the groups."""
    final = run.record.final
    return Quantity.of((final and final.group_metric) or "accuracy") if name == WORST else Quantity.of(name)


def seconds_of(record: RunRecord) -> float | None:
    """Seconds of all rounds: the summary of a resumed run counts those since it was resumed."""
    rounds = sum(one.wall_seconds for one in record.rounds)
    return max(record.summary.get("wall_seconds") or 0.0, rounds) or None


def _metrics(record: RunRecord, headline: str | None) -> Mapping[str, float]:
    first = {} if headline is None or headline not in record.metrics else {headline: record.metrics[headline]}
    return {**first, **record.metrics}


def _worst_group(record: RunRecord) -> float | None:
    final = record.final
    groups = final.groups.values() if final else ()
    values = [rate.value for rates in groups for rate in rates.values() if rate.value is not None]
    worse = max if final and final.group_metric == "mean_absolute_error" else min
    return worse(values) if values else None


def _per_kwh(found: Mapping[str, Any], headline: str | None) -> dict[str, float]:
    energy = found.get(ENERGY)
    if not energy or headline is None or Quantity.of(headline).cost or headline not in found:
        return {}
    return {f"{headline}_per_kwh": found[headline] / energy}
