"""The metrics of one attribute other than rates: from its decisions and, if any, its scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import permutations, product

import numpy as np

from fedcore.audit.metrics.catalogue import estimates_of
from fedcore.audit.metrics.confusion import cells, favourable_index, predicted_counts
from fedcore.audit.metrics.estimates import Estimate
from fedcore.audit.metrics.estimators.auc import Areas
from fedcore.audit.metrics.estimators.calibration import Bins, calibration_curves
from fedcore.audit.metrics.estimators.score_shift import mean_scores, score_shifts, worst_shift
from fedcore.audit.metrics.gaps import Gap
from fedcore.audit.metrics.group_gaps import difference, pair_confidence, ratio
from fedcore.audit.metrics.observed import Observed
from fedcore.audit.metrics.parity import Parity
from fedcore.audit.statistics.pairs import Pair as GroupPair
from fedcore.audit.statistics.pairs import Side
from fedcore.audit.tables.groups import UNKNOWN, GroupTable
from fedcore.audit.tables.scores import ScoreTable, predictions_of, scores_of_table
from fedcore.audit.tables.values import AuditTable, ValueTable
from fedcore.audit.verdict.attribute_audit import AttributeAudit
from fedcore.audit.verdict.fairness import with_gaps

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """Metrics of one attribute's groups other than rates, small groups included.

    Attributes:
        overall_area: The area of all rows together, whatever their group; None if not measured.
        cross_areas: For two groups the area of the first's favourable rows over the second's others.
        area_bounds: Lowest and highest area of these rows for two groups, the first of them favourable, or of one and
            the same group, whatever the order of scores within a point.
        shifts: ``{distance: {(group, group): estimate}}``.
        curves: Calibration curve of each group that has rows, if scores may be probabilities.
    """

    estimates: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)
    overall_area: float | None = None
    cross_areas: Mapping[Pair, Estimate] = field(default_factory=dict)
    area_bounds: Mapping[Pair, tuple[float, float]] = field(default_factory=dict)
    shifts: Mapping[str, Mapping[Pair, Estimate]] = field(default_factory=dict)
    mean_scores: Mapping[str, float] = field(default_factory=dict)
    curves: Mapping[str, Bins] = field(default_factory=dict)

    def added(self, audit: AttributeAudit) -> AttributeAudit:
        """Return the audit with the gaps of these measures, so that limits on them can be judged."""
        return with_gaps(audit, self.estimates)

    def distances(self, groups: Iterable[str], *, confidence: float) -> dict[str, Parity]:
        """Return the largest score shifts, and the largest difference of areas across two groups."""
        kept = list(groups)
        found = {
            name: worst_shift(pairs, self.mean_scores, kept, confidence=confidence)
            for name, pairs in self.shifts.items()
        }
        if self.cross_areas:
            found["cross_group_auc"] = _worst_cross(self.cross_areas, kept, confidence=confidence)
        return found


def measures_of(seen: Observed) -> Measures:
    estimates, scores = estimates_of(seen), seen.scores
    if scores is None:
        return Measures(estimates=estimates)
    found = Measures(
        estimates=estimates,
        shifts=score_shifts(scores, generator=seen.generator),
        mean_scores=mean_scores(scores),
        curves=_curves(scores),
    )
    if not scores.labelled:
        return found
    return replace(
        found,
        overall_area=seen.areas.pooled,
        cross_areas=_cross_areas(scores, seen.areas),
        area_bounds=_area_bounds(scores, seen.areas),
    )


def measures_of_table(audit: AttributeAudit, table: AuditTable) -> Measures:
    """Measure what the audited table allows: with a favourable label, and where scores were counted.

    Bins stand for their centres, so that a score is off by half a bin at most; the order within a bin is unknown,
    which the intervals of areas include. Nothing is measured on counts with noise: no interval here would hold.
    """
    if isinstance(table, ValueTable):
        return measures_of(Observed(values=table, scores=predictions_of(table)))
    if table.variance > 0:
        return Measures()
    scores = scores_of_table(table, favourable=audit.settings.favourable) if table.scored else None
    return measures_of(Observed(decisions=_decisions(audit, table), scores=scores))


def _decisions(audit: AttributeAudit, table: GroupTable) -> GroupTable:
    """Return rows by label and decision, a favourable label against all others if there is one."""
    index = favourable_index(table, audit.settings.favourable)
    if index is None:
        return table
    of = cells(predicted_counts(table, audit.settings.threshold), index)
    counts = np.moveaxis(np.array([[of["TN"], of["FP"]], [of["FN"], of["TP"]]]), -1, 0)
    labels = ("unfavourable", "favourable")
    return replace(table, labels=labels, num_bins=2, scored=False, counts=counts)


def _curves(table: ScoreTable) -> dict[str, Bins]:
    if not (table.labelled and table.unit):
        return {}
    found = zip(table.groups, calibration_curves(table), strict=True)
    return {group: bins for group, bins in found if bins[:, 2].any()}


def _cross_areas(table: ScoreTable, areas: Areas) -> dict[Pair, Estimate]:
    known = [g for g, group in enumerate(table.groups) if group != UNKNOWN and table.counts[g].any()]
    return {(table.groups[a], table.groups[b]): areas.estimate(a, b) for a, b in permutations(known, 2)}


def _area_bounds(table: ScoreTable, areas: Areas) -> dict[Pair, tuple[float, float]]:
    """Both bounds are the area itself where all rows of a point have one score."""
    found = {(a, b): areas.bounds(a, b) for a, b in product(range(len(table.groups)), repeat=2)}
    return {
        (table.groups[a], table.groups[b]): (each[0], each[0]) if areas.exact else each[1:]
        for (a, b), each in found.items()
        if each is not None
    }


def _worst_cross(areas: Mapping[Pair, Estimate], groups: list[str], *, confidence: float) -> Parity:
    """Return the clearest difference between the two areas across a pair; they share no row."""
    both = {
        pair: (areas[pair], areas[pair[::-1]])
        for pair in areas
        if set(pair) <= set(groups) and areas[pair].value is not None and areas[pair[::-1]].value is not None
    }
    if not both:
        return Parity()
    each = pair_confidence(confidence, len({group for pair in both for group in pair}))
    compared = [_across(pair, *both[pair], confidence=each) for pair in both if pair[0] < pair[1]]
    return Parity.of(Gap(attribute="", metric="auc", pairs=tuple(compared), undefined=(), groups_compared=()))


def _across(pair: Pair, one: Estimate, other: Estimate, *, confidence: float) -> GroupPair:
    """Compare the area of the first group's favourable rows over the second's others with the opposite area."""
    first, second = (
        Side(group=group, rate=Fraction(area.value or 0.0), n=area.n)
        for group, area in zip(pair, (one, other), strict=True)
    )
    areas = one.measure(confidence), other.measure(confidence)
    return GroupPair.of(first, second, difference(*areas, confidence=confidence), ratio(*areas, confidence=confidence))
