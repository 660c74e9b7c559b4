"""Noise on a client's evaluation: sums of bounded values, and counts by group."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedcore.audit.tables.groups import GroupTable
from fedcore.metrics import Metrics
from fedcore.plan.evaluation_schedule import most_evaluations
from fedcore.privacy.noise import Randomness
from fedcore.privacy.plan import NoiseKind, PrivacyEvent, Relation

if TYPE_CHECKING:
    from fedcore.plan import RunPlan
    from fedcore.task import Task

LOSS, ACCURACY = "loss", "accuracy"
_STEPS = 2**10
"""A noisy sum is rounded to this share of what one row adds at most, so that its low bits reveal nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPrivacy:
    """Record-level privacy of the held-out rows of a client.

    Guarantee:
        A report holds group tables, in each of which a row is in one cell, and sums to which a row adds at most its
        bound: measured in these bounds, a row moves the report by at most `sensitivity` in Euclidean norm when
        it is blanked, added or removed, and by at most twice that when it is replaced. Every number has normal noise
        of standard deviation ``noise_multiplier * sensitivity`` bounds, and is then rounded, which is
        post-processing: one report is the Gaussian mechanism, `event(1)`. Unit: one held-out record of one client;
        a record is either held out or trained on, so that it is in one of the two guarantees only. Assumes that
        the model's output for a row depends on no other row, and that `noise` is ``secure``.

    Attributes:
        noise_multiplier: Standard deviation of the noise over the sensitivity.
        loss_bound: A row's loss is cut to it, from above and below.
    """

    noise_multiplier: float
    relation: Relation
    tables: int
    sums: int
    loss_bound: float
    evaluations: int
    delta: float
    noise: NoiseKind

    @classmethod
    def from_run_plan(cls, plan: RunPlan, *, labelled: bool) -> EvaluationPrivacy | None:
        """The plan's promise to held-out rows; ``None`` if evaluation is exact.

        Args:
            labelled: Whether the task has labels, so that the accuracy is released with the loss.
        """
        section = plan.privacy
        if section.evaluation_noise_multiplier is None:
            return None
        return cls(
            noise_multiplier=section.evaluation_noise_multiplier,
            relation=Relation(section.relation),
            tables=len(plan.audit.sensitive),
            sums=2 if labelled else 1,
            loss_bound=section.evaluation_loss_bound,
            evaluations=most_evaluations(plan),
            delta=section.delta,
            noise=NoiseKind(section.noise),
        )

    @property
    def size_is_secret(self) -> bool:
        """Whether the number of rows is one of the sums."""
        return self.relation is Relation.ADD_REMOVE

    @property
    def sensitivity(self) -> float:
        """Largest Euclidean change by one row, in units of the most that one row may add to each number."""
        return math.sqrt(self.tables + self.sums + self.size_is_secret)

    @property
    def noise_std(self) -> float:
        """Standard deviation of the noise in every number, in the same units."""
        return self.noise_multiplier * self.sensitivity

    @property
    def cell_variance(self) -> float:
        """Variance of the noise in every cell of a table, in rows; rounding adds a twelfth."""
        return self.noise_std**2 + 1.0 / 12.0

    def event(self, reports: int) -> PrivacyEvent:
        """Privacy cost of a held-out record after so many reports."""
        return PrivacyEvent(sampling_rate=1.0, noise_multiplier=self.noise_multiplier, steps=reports)

    def noisy_metrics(self, losses: NDArray[np.float64], hits: int | None, randomness: Randomness) -> Metrics:
        """Sums with noise, ready for release.

        Args:
            losses: Of every row, shape (n,); values that are not finite count as the bound.
            hits: Rows predicted correctly; ``None`` without labels.
        """
        bound, rows = self.loss_bound, len(losses)
        within = np.clip(np.nan_to_num(losses, nan=bound, posinf=bound, neginf=-bound), -bound, bound)
        noise = randomness.normal(3).numpy() * self.noise_std
        sums = {LOSS: bound * _rounded(float((within / bound).sum()) + float(noise[0]))}
        if hits is not None:
            sums[ACCURACY] = float(round(hits + float(noise[1])))
        released = float(max(0, round(rows + float(noise[2])))) if self.size_is_secret else float(rows)
        return Metrics(sums=sums, counts=dict.fromkeys(sums, released))

    def noisy_table(self, table: GroupTable, randomness: Randomness) -> GroupTable:
        """Counts ready for release: with noise in every cell, empty ones included."""
        noise = randomness.normal(table.counts.size).numpy().reshape(table.counts.shape) * self.noise_std
        counts = np.rint(table.counts + noise).astype(np.int64)
        return replace(table, counts=counts, variance=self.cell_variance)


def evaluation_privacy(task: Task, plan: RunPlan) -> EvaluationPrivacy | None:
    """A task's promise to held-out rows; the same on the server and on every client."""
    return EvaluationPrivacy.from_run_plan(plan, labelled=bool(task.labels))


def _rounded(value: float) -> float:
    return round(value * _STEPS) / _STEPS
