"""Several labels: each class against the others, the class with the widest gap, and the class served worst."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedcore.audit.attribute_audit import AttributeAudit
from fedcore.audit.estimates import UNDEFINED, Estimate
from fedcore.audit.fairness import audit_of
from fedcore.audit.gaps import Gap
from fedcore.audit.intervals import Interval, wilson_interval
from fedcore.audit.parity import NAMES, Parity, parity_of
from fedcore.audit.values import AuditTable, ValueTable

_OF_ALL = "accuracy"  # of all classes together, and so of none


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstClass:
    """The widest gap over the classes.

    Attributes:
        label: The class that it is of; None where it is undefined for every class.
        parity: Largest difference and smallest ratio over all classes; the interval is that of the former.
    """

    label: str | None
    parity: Parity


def class_accuracies(confusion: NDArray[np.int64]) -> tuple[Estimate, Estimate]:
    """Return the mean over the classes of the share of their rows predicted rightly, and the least of these shares.

    Both are undefined if a class has no rows. The interval of the mean adds the squares of the distances from the
    shares to the ends of theirs (Zou and Donner 2008); that of the least is formed of the ends of all classes' shares,
    which hold together (Bonferroni).

    Args:
        confusion: Rows by label and prediction, shape (classes, classes).
    """
    rows, hits = confusion.sum(axis=1).tolist(), np.diagonal(confusion).tolist()
    if not all(rows):
        return UNDEFINED, UNDEFINED
    shares, n = [hit / of for hit, of in zip(hits, rows, strict=True)], sum(rows)

    def each(confidence: float) -> list[Interval]:
        return [wilson_interval(hit, of, confidence=confidence) for hit, of in zip(hits, rows, strict=True)]

    def mean_ends(confidence: float) -> Interval:
        ends = each(confidence)
        below = math.hypot(*(share - end.low for share, end in zip(shares, ends, strict=True)))
        above = math.hypot(*(end.high - share for share, end in zip(shares, ends, strict=True)))
        mean, classes = sum(shares) / len(shares), len(shares)
        return Interval(low=max(0.0, mean - below / classes), high=min(1.0, mean + above / classes))

    def least_ends(confidence: float) -> Interval:
        ends = each(1 - (1 - confidence) / len(shares))
        return Interval(low=min(end.low for end in ends), high=min(end.high for end in ends))

    return (
        Estimate(value=sum(shares) / len(shares), n=n, spread=mean_ends),
        Estimate(value=min(shares), n=n, spread=least_ends),
    )


def with_classes(audit: AttributeAudit, table: AuditTable) -> AttributeAudit:
    """Return the audit with each class against the others, where there are more than two and none is favourable.

    All intervals of all classes hold together with the audit's confidence (Bonferroni): the widest of many gaps is
    wide by chance alone.

    Args:
        audit: Of the table.
        table: Pooled counts.
    """
    settings = audit.settings
    if isinstance(table, ValueTable) or len(table.labels) == 2 or settings.favourable is not None:
        return audit
    together = replace(settings, confidence=1 - (1 - settings.confidence) / len(table.labels))
    classes = {
        label: _named(label, audit_of(table, replace(together, favourable=label), audit.suppressed))
        for label in table.labels
    }
    return replace(audit, classes=classes)


def worst_classes(audit: AttributeAudit) -> dict[str, WorstClass]:
    """Return the widest gap over the classes of every rate, and of every usual name of a gap, between shown groups.

    Classes whose gap is undefined are left out; an interval's ends are the largest of the classes' ends, which hold
    together.
    """
    gaps = {label: one.shown_gaps for label, one in audit.classes.items()}
    metrics = tuple(next(iter(gaps.values()), {}))
    formed = {metric: (metric,) for metric in metrics} | {
        name: of for name, of in NAMES.items() if set(of) <= set(metrics)
    }
    return {name: _worst(name, [gaps[label][metric] for label in gaps for metric in of]) for name, of in formed.items()}


def _worst(name: str, gaps: list[Gap]) -> WorstClass:
    by_ratio = name == "impact_ratio"
    defined = [gap for gap in gaps if (gap.ratio_fraction if by_ratio else gap.difference_fraction) is not None]
    if not defined:
        return WorstClass(label=None, parity=Parity())
    if by_ratio:
        widest = min(defined, key=lambda gap: gap.ratio_fraction or 0)
    else:
        widest = max(defined, key=lambda gap: gap.difference_fraction or 0)
    return WorstClass(label=widest.label, parity=parity_of(name, defined))


def _named(label: str, audit: AttributeAudit) -> AttributeAudit:
    """Return the audit of one class without what is of all of them, its gaps saying which class they are of."""

    def own(gaps: Mapping[str, Gap]) -> dict[str, Gap]:
        return {metric: replace(gap, label=label) for metric, gap in gaps.items() if metric != _OF_ALL}

    return replace(
        audit,
        overall={metric: rate for metric, rate in audit.overall.items() if metric != _OF_ALL},
        groups={metric: rates for metric, rates in audit.groups.items() if metric != _OF_ALL},
        gaps=own(audit.gaps),
        shown_gaps=own(audit.shown_gaps),
        to_reference={group: own(gaps) for group, gaps in audit.to_reference.items()},
    )
