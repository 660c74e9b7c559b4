from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from fedcore.audit.metrics.catalogue import RATES
from fedcore.audit.metrics.rates import Rate, group_rates, overall_rates
from fedcore.audit.tables.groups import UNKNOWN, GroupTable
from fedcore.errors import DataError
from tests.audit.builders import table_of


def multiclass_table() -> GroupTable:
    confusion = [[[5, 1, 0], [2, 6, 1], [0, 3, 4]], [[2, 0, 0], [0, 2, 0], [1, 1, 1]], np.zeros((3, 3))]
    return GroupTable(
        attribute="sex",
        groups=("female", "male", UNKNOWN),
        labels=("a", "b", "c"),
        num_bins=3,
        scored=False,
        counts=np.array(confusion).astype(np.int64),
    )


def scored_table(num_bins: int = 10) -> GroupTable:
    counts = np.arange(2 * 2 * num_bins, dtype=np.int64).reshape(2, 2, num_bins)
    return GroupTable(
        attribute="sex",
        groups=("male", UNKNOWN),
        labels=("no", "yes"),
        num_bins=num_bins,
        scored=True,
        counts=counts,
    )


def test_every_metric_of_a_small_table_is_the_textbook_s() -> None:
    tn, fp, fn, tp = 11, 7, 5, 3
    expected = {
        "accuracy": (tp + tn, 26),
        "selection_rate": (tp + fp, 26),
        "true_positive_rate": (tp, tp + fn),
        "false_positive_rate": (fp, fp + tn),
        "true_negative_rate": (tn, fp + tn),
        "false_negative_rate": (fn, tp + fn),
        "positive_predictive_value": (tp, tp + fp),
        "negative_predictive_value": (tn, tn + fn),
        "base_rate": (tp + fn, 26),
    }

    rates = group_rates(table_of({"male": (tn, fp, fn, tp)}))

    assert set(rates) == set(RATES) == set(expected)
    for metric, (successes, n) in expected.items():
        assert (rates[metric]["male"].successes, rates[metric]["male"].n) == (successes, n), metric


def test_a_group_without_positives_has_no_true_positive_rate() -> None:
    rates = group_rates(table_of({"female": (8, 2, 0, 0), "male": (4, 1, 2, 3)}))
    undefined = Rate(value=None, low=None, high=None, successes=0, n=0)

    assert rates["true_positive_rate"]["female"] == undefined
    assert rates["false_negative_rate"]["female"] == undefined
    assert rates["true_positive_rate"]["male"].value == pytest.approx(0.6)


def test_a_group_without_rows_has_no_rate_at_all() -> None:
    rates = group_rates(table_of({"male": (4, 1, 2, 3)}))

    assert all(by_group[UNKNOWN].value is None for by_group in rates.values())
    assert rates["accuracy"][UNKNOWN].fraction is None


def test_a_score_table_is_cut_at_the_threshold() -> None:
    rates = group_rates(scored_table(), threshold=0.7)["selection_rate"]

    assert rates["male"].fraction == Fraction(7 + 8 + 9 + 17 + 18 + 19, 190)


@pytest.mark.parametrize(
    ("threshold", "message"),
    [
        (0.55, "on no edge of the 10 score bins; the nearest are 0.5 and 0.6"),
        (0.01, "the nearest are 0.1 and 0.2"),
        (0.97, "the nearest are 0.9$"),
        (0.0, "threshold 0.0 must be between 0 and 1"),
        (1.0, "threshold 1.0 must be between 0 and 1"),
    ],
)
def test_a_threshold_off_the_bin_edges_is_refused(threshold: float, message: str) -> None:
    with pytest.raises(DataError, match=message):
        group_rates(scored_table(), threshold=threshold)


@pytest.mark.parametrize("threshold", [k / 100 for k in range(1, 100)])
def test_every_percent_is_an_edge_of_a_hundred_bins(threshold: float) -> None:
    assert group_rates(scored_table(100), threshold=threshold)["selection_rate"]["male"].n == 19900


def test_several_classes_have_an_accuracy_and_nothing_else() -> None:
    rates = group_rates(multiclass_table())

    assert list(rates) == ["accuracy"]
    assert rates["accuracy"]["female"].fraction == Fraction(15, 22)


def test_a_favourable_class_is_taken_against_the_rest() -> None:
    rates = group_rates(multiclass_table(), favourable="b")

    assert rates["accuracy"]["female"].fraction == Fraction(15, 22)
    assert rates["true_positive_rate"]["female"].fraction == Fraction(6, 9)
    assert rates["false_positive_rate"]["female"].fraction == Fraction(4, 13)
    assert rates["selection_rate"]["male"].fraction == Fraction(3, 7)
    assert rates["positive_predictive_value"]["male"].fraction == Fraction(2, 3)


def test_the_other_of_two_labels_may_be_the_favourable_one() -> None:
    table = table_of({"male": (11, 7, 5, 3)})

    assert group_rates(table, favourable="no")["true_positive_rate"] == group_rates(table)["true_negative_rate"]


def test_an_unknown_favourable_label_is_refused() -> None:
    with pytest.raises(DataError, match="'maybe' is none of the labels no, yes"):
        group_rates(table_of({"male": (1, 1, 1, 1)}), favourable="maybe")


def test_the_overall_rate_counts_rows_of_unknown_group() -> None:
    table = table_of({"female": (1, 0, 0, 1), UNKNOWN: (0, 1, 1, 0)})

    assert overall_rates(table)["accuracy"].fraction == Fraction(2, 4)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("data", ["random", "breast-cancer"])
def test_rates_differences_and_ratios_are_fairlearn_s(data: str, seed: int) -> None:
    from fairlearn import metrics as fairlearn
    from sklearn.metrics import accuracy_score

    from fedcore.audit.metrics.group_gaps import gap_between

    generator = np.random.default_rng(seed)
    label, prediction, group = _rows(data, generator)
    table = GroupTable.collect(
        attribute="site",
        groups=("a", "b", "c", UNKNOWN),
        labels=("no", "yes"),
        group_codes=group,
        label_codes=label,
        predictions=prediction,
    )
    functions = {
        "accuracy": accuracy_score,
        "selection_rate": fairlearn.selection_rate,
        "true_positive_rate": fairlearn.true_positive_rate,
        "false_positive_rate": fairlearn.false_positive_rate,
        "true_negative_rate": fairlearn.true_negative_rate,
        "false_negative_rate": fairlearn.false_negative_rate,
    }
    oracle = fairlearn.MetricFrame(metrics=functions, y_true=label, y_pred=prediction, sensitive_features=group)

    rates, overall = group_rates(table), overall_rates(table)
    for metric in functions:
        gap = gap_between("site", metric, rates[metric], confidence=0.95)
        assert [rates[metric][g].value for g in "abc"] == pytest.approx(oracle.by_group[metric].tolist(), abs=1e-12)
        assert overall[metric].value == pytest.approx(oracle.overall[metric], abs=1e-12)
        assert gap.widest_estimate == pytest.approx(oracle.difference()[metric], abs=1e-12)
        assert gap.smallest_ratio_estimate == pytest.approx(oracle.ratio()[metric], abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_rows_that_stand_for_several_are_fairlearn_s_sample_weights(seed: int) -> None:
    from fairlearn import metrics as fairlearn
    from sklearn.metrics import accuracy_score

    generator = np.random.default_rng(seed)
    label, prediction, group = _rows("random", generator)
    weights = generator.integers(0, 9, size=400)
    table = GroupTable.collect(
        attribute="site", groups=("a", "b", "c", UNKNOWN), labels=("no", "yes"), group_codes=group, label_codes=label,
        predictions=prediction, weights=weights,
    )  # fmt: skip
    functions = {
        "accuracy": accuracy_score,
        "selection_rate": fairlearn.selection_rate,
        "true_positive_rate": fairlearn.true_positive_rate,
        "false_negative_rate": fairlearn.false_negative_rate,
    }
    oracle = fairlearn.MetricFrame(
        metrics=functions, y_true=label, y_pred=prediction, sensitive_features=group,
        sample_params={metric: {"sample_weight": weights} for metric in functions},
    )  # fmt: skip

    rates = group_rates(table)
    for metric in functions:
        assert [rates[metric][g].value for g in "abc"] == pytest.approx(oracle.by_group[metric].tolist(), abs=1e-12)


def _rows(data: str, generator: np.random.Generator) -> tuple[Any, Any, Any]:
    """Return labels, predictions and groups; the real table is split into groups by the size of the cell."""
    if data == "random":
        return tuple(generator.integers(0, k, size=400) for k in (2, 2, 3))
    from sklearn.datasets import load_breast_cancer

    features, label = load_breast_cancer(return_X_y=True)
    kept = generator.permutation(len(label))[:400]
    prediction = (features[kept, 1] < 19).astype(np.int64)
    return label[kept], prediction, np.digitize(features[kept, 0], [13.0, 16.0])
