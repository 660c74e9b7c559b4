"""Counts of one attribute's groups, from which every metric is computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedcore.audit.metrics.estimates import Estimate
from fedcore.audit.metrics.estimators.auc import Areas
from fedcore.audit.metrics.estimators.entropy import entropy_indices
from fedcore.audit.metrics.estimators.moments import Moments, moments_of
from fedcore.audit.statistics.resampling import SEED
from fedcore.audit.tables.groups import GroupTable
from fedcore.audit.tables.scores import ScoreTable
from fedcore.audit.tables.values import ValueTable
from fedcore.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Observed:
    """Counts by group, and shared results of several metrics.

    Attributes:
        decisions: Labels by decision, of two labels the favourable one second; None without labels.
        scores: Scores of the same groups, with labels or without; None without scores.
        values: Sums of targets and errors; None if targets are labels.
    """

    decisions: GroupTable | None = None
    scores: ScoreTable | None = None
    values: ValueTable | None = None
    generator: np.random.Generator = field(default_factory=lambda: np.random.default_rng(SEED))

    @property
    def sources(self) -> tuple[str, ...]:
        """What metrics can be computed from, in the words of `Metric.source`."""
        classes = 0 if self.decisions is None else len(self.decisions.labels)
        labelled = self.scores is not None and self.scores.labelled
        there = {
            "classes": classes > 0,
            "several classes": classes > 2,
            "benefits": classes == 2,
            "scores": labelled,
            "probabilities": labelled and self.scores is not None and self.scores.unit,
            "numbers": self.values is not None,
        }
        return tuple(source for source, is_there in there.items() if is_there)

    @property
    def groups(self) -> tuple[str, ...]:
        """The vocabulary, in the order in which a metric returns its estimates."""
        tables = (self.decisions, self.scores, self.values)
        return next(table.groups for table in tables if table is not None)

    @property
    def confusion(self) -> NDArray[np.int64]:
        if self.decisions is None:
            raise DataError("there are no labels and decisions to compute a metric from")
        return self.decisions.counts

    @property
    def labelled_scores(self) -> ScoreTable:
        if self.scores is None:
            raise DataError("there are no scores to compute a metric from")
        return self.scores

    @cached_property
    def areas(self) -> Areas:
        return Areas.of(self.labelled_scores.counts, exact=self.labelled_scores.exact)

    @cached_property
    def entropy(self) -> Mapping[str, list[Estimate]]:
        """Both indices of unequal benefits, from the same draws."""
        cells = self.confusion
        benefits = np.stack([cells[:, 1, 0], np.trace(cells, axis1=1, axis2=2), cells[:, 0, 1]], axis=1)
        return entropy_indices(benefits, generator=self.generator)

    @cached_property
    def moments(self) -> list[Moments]:
        if self.values is None:
            raise DataError("there are no numbers to compute a metric from")
        return moments_of(self.values)
