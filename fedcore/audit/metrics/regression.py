"""Targets that are numbers: every metric by group, and over all rows."""

from __future__ import annotations

from dataclasses import replace

from fedcore.audit.metrics.catalogue import estimates_of
from fedcore.audit.metrics.estimates import Estimate
from fedcore.audit.metrics.observed import Observed
from fedcore.audit.tables.groups import UNKNOWN
from fedcore.audit.tables.values import ValueTable


def value_estimates(table: ValueTable) -> dict[str, dict[str, Estimate]]:
    """Return ``{metric: {group: estimate}}``, "unknown" among the groups."""
    return estimates_of(Observed(values=table))


def overall_estimates(table: ValueTable) -> dict[str, Estimate]:
    """Return every metric over all rows, those of unknown group included."""
    summed = {name: getattr(table, name).sum(axis=0, keepdims=True) for name in ("counts", "moved", "sums")}
    found = value_estimates(replace(table, groups=(UNKNOWN,), **summed))
    return {metric: of[UNKNOWN] for metric, of in found.items()}
