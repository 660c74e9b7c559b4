"""An attribute that was drawn at random has no gap, and its interval says so as often as it states."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fedcore.audit.metrics.estimates import Estimate
from fedcore.audit.metrics.estimators.auc import Areas
from fedcore.audit.metrics.estimators.calibration import brier_score
from fedcore.audit.metrics.estimators.calibration_slope import calibration_slope
from fedcore.audit.metrics.estimators.class_accuracy import balanced_accuracy
from fedcore.audit.metrics.gaps import Gap
from fedcore.audit.metrics.group_gaps import gap_between
from fedcore.audit.metrics.rates import group_rates
from fedcore.audit.tables.groups import UNKNOWN, GroupTable
from fedcore.audit.tables.scores import scores_of_rows

GROUPS = ("a", "b", UNKNOWN)
RATES = ("selection_rate", "accuracy", "true_positive_rate")
MEASURES = ("auc", "brier_score", "balanced_accuracy", "calibration_slope")


def gaps(drawn: np.random.Generator, rows: int) -> dict[str, Gap]:
    """Return gaps between two halves of random rows with calibrated scores."""
    score = drawn.beta(2, 3, rows)
    label, group = (drawn.random(rows) < score).astype(np.int64), drawn.integers(0, 2, rows)
    selected = (score >= 0.4).astype(np.int64)
    table = GroupTable.collect(
        attribute="g", groups=GROUPS, labels=("no", "yes"), group_codes=group, label_codes=label, predictions=selected
    )
    scores = scores_of_rows(groups=GROUPS, group_codes=group, label_codes=label, scores=score, edges=(0.0, 1.0))
    rates = group_rates(table)
    found = {metric: gap_between("g", metric, rates[metric], confidence=0.95) for metric in RATES}
    measures: dict[str, Callable[[int], Estimate]] = {
        "auc": lambda g: Areas.of(scores.counts, exact=True).estimate(g, g),
        "brier_score": lambda g: brier_score(scores.points, scores.counts[g]),
        "calibration_slope": lambda g: calibration_slope(scores.points, scores.counts[g]),
        "balanced_accuracy": lambda g: balanced_accuracy(table.counts[g]),
    }
    return found | {
        metric: gap_between("g", metric, {"a": measure(0), "b": measure(1)}, confidence=0.95)
        for metric, measure in measures.items()
    }


def shares_of_null_gaps(seed: int, draws: int) -> dict[str, float]:
    drawn = np.random.default_rng(seed)
    null = dict.fromkeys((*RATES, *MEASURES), 0)
    for _ in range(draws):
        for metric, gap in gaps(drawn, 600).items():
            null[metric] += gap.difference_low == 0
    return {metric: count / draws for metric, count in null.items()}


# The smaller margin is four standard deviations, the larger three.
@pytest.mark.parametrize(("draws", "margin"), [(400, 0.033), pytest.param(2000, 0.02, marks=pytest.mark.slow)])
def test_95_of_100_gaps_of_a_random_attribute_are_null(draws: int, margin: float) -> None:
    shares = shares_of_null_gaps(seed=2, draws=draws)

    assert all(abs(share - 0.95) <= margin for share in shares.values()), shares
