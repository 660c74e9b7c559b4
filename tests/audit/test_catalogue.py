"""One row a metric: everything that lists metrics follows from the catalogue."""

from __future__ import annotations

import numpy as np
import pytest

from fedcore.audit.metrics.catalogue import CATALOGUE, HEADLINES, estimates_of, shown_in
from fedcore.audit.metrics.observed import Observed
from fedcore.audit.tables.groups import GroupTable
from fedcore.audit.verdict.limits import LIMITED, WATCHED, Limit


def decisions(labels: tuple[str, ...]) -> GroupTable:
    counts = np.arange(1, 2 * len(labels) ** 2 + 1).reshape(2, len(labels), len(labels))
    groups = ("a", "unknown")
    return GroupTable(
        attribute="g", groups=groups, labels=labels, num_bins=len(labels), scored=False, counts=counts
    )  # fmt: skip


def test_a_metric_is_a_rate_or_an_estimate_or_comes_from_others() -> None:
    for metric in CATALOGUE.values():
        of_others = metric.source in ("pairs", "selection rates")
        assert (metric.cells is not None) + (metric.estimate is not None) + of_others == 1, metric.name


def test_lists_of_metrics_are_those_of_the_catalogue() -> None:
    assert HEADLINES == ("accuracy", "mean_absolute_error")
    assert {*WATCHED} < {*LIMITED} < {*CATALOGUE}


@pytest.mark.parametrize("name", LIMITED)
def test_a_limit_may_be_set_of_every_kind_that_the_row_names(name: str) -> None:
    for kind in CATALOGUE[name].limits:
        bound = {"at_least": "0.5"} if kind == "ratio" else {"at_most": "0.5"}
        assert Limit.of(name, kind=kind, **bound).metric == name


def test_what_can_be_computed_depends_on_the_labels() -> None:
    assert set(estimates_of(Observed(decisions=decisions(("no", "yes"))))) == {
        "balanced_accuracy",
        "generalized_entropy",
        "theil_index",
    }
    assert set(estimates_of(Observed(decisions=decisions(("a", "b", "c"))))) == {
        "balanced_accuracy",
        "worst_class_accuracy",
    }


def test_entropy_and_distances_between_scores_are_not_in_the_default_text() -> None:
    entropy, distances = (
        {"generalized_entropy", "theil_index"},
        {"cross_group_auc", "kolmogorov_smirnov", "wasserstein"},
    )

    assert not (entropy | distances) & {*shown_in("text")}
    assert not entropy & {*shown_in("full text")}
