"""Recall of the classes of a group: the mean, and the lowest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedcore.audit.metrics.estimates import UNDEFINED, Estimate
from fedcore.audit.statistics.intervals import Interval, exact_interval, mean_interval


def balanced_accuracy(confusion: NDArray[np.int64]) -> Estimate:
    """Return the mean recall over classes with `mean_interval`, from rows by label and prediction (classes, classes).

    Undefined if a class has no rows.
    """
    rows, hits = confusion.sum(axis=1), np.diagonal(confusion)
    if not rows.all():
        return UNDEFINED

    def ends(confidence: float) -> Interval:
        return mean_interval(hits, rows, confidence=confidence)

    return Estimate(value=float((hits / rows).mean()), n=int(rows.sum()), spread=ends)


def worst_class_accuracy(confusion: NDArray[np.int64]) -> Estimate:
    """Return the lowest recall of a class; `confusion` as for `balanced_accuracy`.

    Its interval is formed of exact ones (Clopper and Pearson 1934) that hold for all classes together (Bonferroni):
    at such confidence Wilson's are too short near 0 and 100 %.
    """
    rows, hits = confusion.sum(axis=1), np.diagonal(confusion)
    if not rows.all():
        return UNDEFINED

    def ends(confidence: float) -> Interval:
        each = 1 - (1 - confidence) / len(rows)
        found = [exact_interval(hit, of, confidence=each) for hit, of in zip(hits.tolist(), rows.tolist(), strict=True)]
        return Interval(low=min(end.low for end in found), high=min(end.high for end in found))

    return Estimate(value=float((hits / rows).min()), n=int(rows.sum()), spread=ends)
