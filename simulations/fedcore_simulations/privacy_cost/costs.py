"""From the outcomes of the arms to the cost of privacy for each group, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcore.audit.metrics.estimates import UNDEFINED, Estimate, Measure, normal
from fedcore.audit.metrics.gaps import Gap
from fedcore.audit.metrics.group_gaps import gap_between
from fedcore.audit.tables.groups import UNKNOWN
from fedcore_simulations.privacy_cost.arms import Arm, Outcomes

PARTS = {
    "cost": (Arm.OPEN, Arm.PRIVATE),
    "clipping": (Arm.OPEN, Arm.CLIPPED),
    "noise": (Arm.CLIPPED, Arm.PRIVATE),
}
"""What is lost between two arms: in all, by clipping, and by noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupCost:
    """Cost of privacy for one group in one metric, in shares of its rows.

    Attributes:
        rates: The metric in each arm, a mean over runs; None without rows.
        parts: The loss, by the names of `PARTS`; negative for a gain.
    """

    rates: Mapping[Arm, float | None]
    parts: Mapping[str, Measure]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricCost:
    """Cost of privacy in one metric.

    Attributes:
        groups: By group, without those of too few rows.
        excess: The highest minus the lowest cost over the groups.
        gaps: Highest minus lowest rate over the groups in each arm; None where fewer than two have one.
    """

    groups: Mapping[str, GroupCost]
    excess: Gap
    gaps: Mapping[Arm, float | None]

    @property
    def amplification(self) -> float | None:
        wide, narrow = self.gaps[Arm.PRIVATE], self.gaps[Arm.OPEN]
        return None if wide is None or narrow is None else wide - narrow


def costs(outcomes: Outcomes, attribute: str, *, confidence: float, min_cell: int) -> dict[str, MetricCost]:
    """The cost in every metric, over the groups of one attribute.

    Intervals treat the held-out rows as a sample, paired over the arms, and the runs as a sample of the noise.
    """
    groups, codes = outcomes.groups[attribute]
    shown = {name: codes == code for code, name in enumerate(groups) if (codes == code).sum() >= min_cell}
    found = {}
    for metric, hits in outcomes.hits.items():
        rows = {name: members & outcomes.among[metric] for name, members in shown.items()}
        parts = {
            name: {
                part: _lost(hits[before][:, chosen], hits[after][:, chosen]) for part, (before, after) in PARTS.items()
            }
            for name, chosen in rows.items()
        }
        rates = {name: {arm: _mean(each[:, chosen]) for arm, each in hits.items()} for name, chosen in rows.items()}
        in_all = {name: each["cost"] for name, each in parts.items()}
        found[metric] = MetricCost(
            groups={
                name: GroupCost(
                    rates=rates[name], parts={part: each.measure(confidence) for part, each in parts[name].items()}
                )
                for name in rows
            },
            excess=gap_between(attribute, metric, in_all, confidence=confidence),
            gaps={arm: _spread([rates[name][arm] for name in rates if name != UNKNOWN]) for arm in Arm},
        )
    return found


def _lost(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> Estimate:
    """The mean loss of a row; shape (runs, rows) each.

    One row that gains and one that loses are added to the variance, so that it is never 0 (Agresti and Min 2005,
    "Simple improved confidence intervals for comparing matched proportions", Stat. Med. 24:729-740); the variance
    between runs is added.
    """
    runs, rows = before.shape
    if rows == 0:
        return UNDEFINED
    lost = before.astype(np.float64) - after
    by_row, by_run = lost.mean(axis=0), lost.mean(axis=1)
    spread = ((by_row**2).sum() + 2.0) / (rows + 2.0) - by_row.mean() ** 2
    between = float(by_run.var(ddof=1)) / runs if runs > 1 else 0.0
    error = math.sqrt(max(0.0, spread) / (rows + 2.0) + between)
    value = float(lost.mean())
    return Estimate(value=value, n=rows, spread=normal(value, error, within=(-1.0, 1.0)))


def _mean(hits: NDArray[np.bool_]) -> float | None:
    return float(hits.mean()) if hits.size else None


def _spread(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return max(known) - min(known) if len(known) > 1 else None
