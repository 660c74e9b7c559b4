"""Targets that are numbers: sums by group, and what follows from them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedcore.audit.metrics.catalogue import value_estimates
from fedcore.audit.metrics.estimates import Estimate
from fedcore.audit.metrics.measures import measures_of_table
from fedcore.audit.tables.groups import UNKNOWN
from fedcore.audit.tables.values import SUMS, ValueTable, pooled, read_table
from fedcore.audit.verdict.fairness import audit_table
from fedcore.audit.verdict.gate import Verdict, judge
from fedcore.audit.verdict.limits import Limit
from fedcore.audit.verdict.settings import AuditSettings
from fedcore.errors import DataError, PlanError
from tests.audit.builders import table_of

GROUPS, SPAN = ("f", "m", UNKNOWN), (-20.0, 120.0)


def empty(**changes: Any) -> ValueTable:
    return ValueTable.zeros(**{"attribute": "sex", "groups": GROUPS, "span": SPAN, "num_bins": 16, **changes})


def rows(seed: int, n: int = 400) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    drawn = np.random.default_rng(seed)
    group, target = drawn.integers(0, 2, n), drawn.normal(50, 10, n)
    return group, target, target + drawn.normal(np.where(group == 0, 0, 2), np.where(group == 0, 3, 6))


def values(found: dict[str, dict[str, Estimate]], group: str) -> dict[str, float | None]:
    return {metric: of[group].value for metric, of in found.items()}


@pytest.mark.parametrize("seed", range(5))
def test_errors_by_group_are_scikit_learn_s(seed: int) -> None:
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    group, target, predicted = rows(seed)
    found = value_estimates(empty().collected(group, target, predicted))

    for code, name in enumerate(GROUPS[:2]):
        y, p = target[group == code], predicted[group == code]
        assert values(found, name) == pytest.approx(
            {
                "mean_prediction": p.mean(),
                "mean_target": y.mean(),
                "mean_error": (p - y).mean(),
                "mean_absolute_error": mean_absolute_error(y, p),
                "root_mean_squared_error": root_mean_squared_error(y, p),
                "r_squared": r2_score(y, p),
            },
            rel=1e-10,
            abs=1e-10,
        )


def test_the_gaps_are_fairlearn_s() -> None:
    from fairlearn.metrics import MetricFrame
    from sklearn.metrics import mean_absolute_error, r2_score

    group, target, predicted = rows(0)
    gaps = audit_table(empty().collected(group, target, predicted), AuditSettings()).gaps

    for metric, function in (("mean_absolute_error", mean_absolute_error), ("r_squared", r2_score)):
        frame = MetricFrame(metrics=function, y_true=target, y_pred=predicted, sensitive_features=group)
        assert gaps[metric].difference == pytest.approx(frame.difference(), abs=1e-10)


def test_tables_of_parts_add_up_to_the_table_of_all_rows() -> None:
    group, target, predicted = rows(1)
    whole = empty().collected(group, target, predicted)
    parts = [empty().collected(group[part], target[part], predicted[part]) for part in (slice(150), slice(150, None))]

    added = pooled(parts[0] + parts[1], empty())

    assert added.group_sizes == whole.group_sizes
    assert isinstance(added, ValueTable)
    np.testing.assert_allclose(added.sums, whole.sums, rtol=1e-12)


def test_a_line_that_stands_for_three_rows_counts_as_three() -> None:
    group, target, predicted = rows(2, n=30)
    three = np.full(30, 3)

    weighted = empty().collected(group, target, predicted, weights=three)
    repeated = empty().collected(*(np.repeat(each, 3) for each in (group, target, predicted)))

    assert weighted.counts.tolist() == repeated.counts.tolist()
    np.testing.assert_allclose(weighted.sums, repeated.sums, rtol=1e-12)


def test_what_is_beyond_the_range_is_moved_to_its_end_and_counted() -> None:
    table = empty().collected([0, 0, 1, 1], [10.0, 20.0, 500.0, 30.0], [500.0, -500.0, 100.0, 30.0])

    assert table.moved.tolist() == [2, 1, 0]
    found = value_estimates(table)["mean_absolute_error"]
    assert (found["f"].value, found["m"].value) == pytest.approx(((110 + 40) / 2, 20 / 2))


def test_no_row_adds_more_than_one_to_any_sum() -> None:
    for target in SPAN:
        for predicted in (-1e9, 1e9):
            assert np.abs(empty().collected([0], [target], [predicted]).sums).max() <= 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (([0], [np.nan], [1.0]), "a target or a prediction is not a finite number"),
        (([0], [1.0], [np.inf]), "a target or a prediction is not a finite number"),
        (([3], [1.0], [1.0]), "a group code is outside its vocabulary"),
        (([0, 1], [1.0], [1.0]), "differ in length"),
    ],
)
def test_rows_that_cannot_be_counted_are_refused(given: tuple[Any, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        empty().collected(*given)


def test_a_table_survives_the_wire() -> None:
    table = empty().collected(*rows(3))

    assert read_table(json.loads(json.dumps(table.to_json()))) == table
    labels = table_of({"f": (1, 2, 3, 4)})
    assert read_table(labels.to_json()) == labels


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sums": [[9.0] * len(SUMS)] * 3}, "no rows have such counts and sums"),
        ({"sums": [[float("nan")] * len(SUMS)] * 3}, "finite numbers"),
        ({"sums": [[1.0]]}, "must have the shape"),
        ({"sums": [[1.0], [1.0, 2.0], []]}, "must have the shape"),
        ({"moved": [1, 0, 0]}, "no rows have such counts and sums"),
        ({"counts": [[-1] + [0] * 15] * 3}, "no rows have such counts and sums"),
        ({"counts": "many"}, "counts must be a list"),
        ({"low": 120.0}, "two rising, finite numbers"),
        ({"groups": ["f", "m", "x"]}, "'unknown' among them"),
        ({"groups": [1, 2, "unknown"]}, "groups must be names"),
        ({"num_bins": 1}, "2 bins or more"),
        ({"more": 1}, "exactly the keys"),
    ],
)
def test_a_table_from_outside_is_checked(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_table({**empty().to_json(), **change})


def test_sums_that_no_rows_have_are_refused_however_they_are_wrong() -> None:
    """Every sum in turn is made larger than what it cannot exceed."""
    table = empty().collected(*rows(4))
    for place in range(len(SUMS)):
        sums = table.sums.copy()
        sums[0, place] += 1000.0
        with pytest.raises(DataError, match="no rows have such"):
            ValueTable(**{**_fields(table), "sums": sums})


def _fields(table: ValueTable) -> dict[str, Any]:
    return {name: getattr(table, name) for name in ValueTable.__slots__}


def test_tables_of_other_ranges_or_kinds_are_not_added() -> None:
    with pytest.raises(DataError, match="groups, range or bins differ"):
        _ = empty() + empty(span=(0.0, 1.0))
    with pytest.raises(DataError, match="one is of labels, the other of numbers"):
        pooled(empty(), table_of({"f": (1, 2, 3, 4)}))


def test_of_one_row_nothing_is_known_and_of_alike_targets_no_r_squared() -> None:
    one = value_estimates(empty().collected([0], [10.0], [12.0]))
    alike = value_estimates(empty().collected([0] * 5, [10.0] * 5, [9.0, 10.0, 11.0, 12.0, 13.0]))

    assert {metric: of["f"].value for metric, of in one.items()} == dict.fromkeys(one)
    assert alike["r_squared"]["f"].value is None
    assert alike["mean_absolute_error"]["f"].value == pytest.approx(1.4)


@pytest.mark.parametrize("errors", ["normal", "laplace", "student", "spread", "rare", "very rare"])
def test_intervals_hold_what_they_say_from_200_rows_on(errors: str) -> None:
    """Nominal 95 %: of 500 draws, held in fewer than 92 % has chance 0.02 if the true coverage is 94.5 %."""
    drawn = np.random.default_rng(11)

    def sample(n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        target = drawn.normal(50, 10, n)
        error = {
            "normal": lambda: drawn.normal(1, 4, n),
            "laplace": lambda: drawn.laplace(0, 4, n),
            "student": lambda: 3 * drawn.standard_t(6, n),
            "spread": lambda: drawn.normal(0, 1, n) * np.abs(target - 50) / 2,
            "rare": lambda: np.where(drawn.random(n) < 0.02, 30.0, 0.0),
            "very rare": lambda: np.where(drawn.random(n) < 0.004, drawn.normal(20, 5, n), 0.0),
        }[errors]()
        return target, target + error

    def estimates(n: int) -> dict[str, Estimate]:
        target, predicted = sample(n)
        table = empty(span=(-300.0, 400.0)).collected(np.zeros(n, dtype=np.int64), target, predicted)
        return {metric: of["f"] for metric, of in value_estimates(table).items()}

    truth = {metric: one.value or 0.0 for metric, one in estimates(1_000_000).items()}
    held = dict.fromkeys(truth, 0)
    for _ in range(500):
        for metric, one in estimates(200).items():
            ends = one.measure(0.95)
            held[metric] += (ends.low or 0.0) <= truth[metric] <= (ends.high or 0.0)

    assert min(held.values()) >= 0.92 * 500, held


def test_rows_that_are_all_alike_say_little_of_others() -> None:
    two = value_estimates(empty().collected([0, 0], [10.0, 90.0], [10.0, 90.0]))
    many = value_estimates(empty().collected([0] * 400, [10.0, 90.0] * 200, [10.0, 90.0] * 200))
    unseen = 1 - 0.025 ** (1 / 400)  # the largest share of which 400 rows may well hold none

    assert two["mean_absolute_error"]["f"].measure(0.95).high == pytest.approx((1 - 0.025**0.5) * 140)
    assert many["mean_absolute_error"]["f"].measure(0.95).high == pytest.approx(unseen * 140)
    assert many["root_mean_squared_error"]["f"].measure(0.95).high == pytest.approx(unseen**0.5 * 140)
    assert (many["r_squared"]["f"].measure(0.95).low or 0) < 0.9
    audit = audit_table(empty().collected([0, 0, 1, 1], [10.0, 90.0] * 2, [10.0, 90.0] * 2), AuditSettings())
    limit = Limit.of("mean_absolute_error", kind="worst-group", at_most=1)
    assert judge(limit, audit).verdict is Verdict.INCONCLUSIVE


def test_few_rows_that_make_up_an_error_do_not_pass_a_limit_that_is_broken() -> None:
    """The mean error of both groups is 0.5 times 1 %; a limit a tenth below may pass in 2.5 % of draws or fewer."""
    drawn, passed = np.random.default_rng(5), 0
    limit = Limit.of("mean_absolute_error", kind="worst-group", at_most="0.0045")
    for _ in range(300):
        target = np.where(drawn.random(400) < 0.01, 0.5, 0.0)
        table = empty(span=(0.0, 1.0)).collected(np.repeat([0, 1], 200), target, np.zeros(400))
        passed += judge(limit, audit_table(table, AuditSettings())).verdict is Verdict.PASS

    assert passed <= 0.025 * 300


@pytest.mark.parametrize(
    "sums",
    [
        {"error_2": 1e-199, "error_4": 1e-6},
        {"absolute_error": 6.0},
        {"error": 6.0, "absolute_error": 6.0, "error_2": 1e-3},
        {"target_2": 8.0, "target_3": 8.0, "target_4": 8.0},
        {"error_target": 5.0, "absolute_error": 5.0, "error_2": 1.25},
        {"error_3": 2.0, "absolute_error_3": 2.0, "error_2": 3.0, "absolute_error": 8.0, "error_4": 0.1},
    ],
)
def test_sums_against_cauchy_and_schwarz_are_refused(sums: dict[str, float]) -> None:
    """Twenty rows of target a half without error, and then some sums that do not go together."""
    told = {"target": 10.0, "target_2": 5.0, "target_3": 2.5, "target_4": 1.25, **sums}
    counts = np.zeros((3, 16), dtype=np.int64)
    counts[0, 0] = 20
    rows_of = [told.get(name, 0.0) for name in SUMS]
    with pytest.raises(DataError, match="no rows have such"):
        ValueTable(**{**_fields(empty()), "counts": counts, "sums": np.array([rows_of, [0.0] * 15, [0.0] * 15])})


def test_no_honest_table_is_refused_for_rounding() -> None:
    many = 3_000_000
    empty().collected(np.zeros(many, dtype=np.int64), np.full(many, -6.1), np.full(many, 8.3))
    group, target, predicted = rows(8, n=500_000)
    whole = empty().collected(group, target, predicted)
    for _ in range(6):
        whole = whole + whole
    assert sum(whole.group_sizes.values()) == 32_000_000


def test_the_mean_error_may_be_limited_from_both_sides() -> None:
    group, target, _ = rows(5, n=4000)
    audit = audit_table(empty().collected(group, target, target - 30 + np.sin(target)), AuditSettings())

    def verdict(**bound: float) -> Verdict:
        return judge(Limit.of("mean_error", kind="worst-group", **bound), audit).verdict  # type: ignore[arg-type]

    assert (verdict(at_most=5), verdict(at_least=-5), verdict(at_least=-35)) == ("PASS", "FAIL", "PASS")


def test_gaps_of_alike_groups_are_null() -> None:
    """Of 400 draws fewer than 92 % null has chance 0.01 at 95 %."""
    drawn, null = np.random.default_rng(3), {"mean_absolute_error": 0, "mean_error": 0, "r_squared": 0}
    for _ in range(400):
        group, target = drawn.integers(0, 2, 400), drawn.normal(50, 10, 400)
        gaps = audit_table(empty().collected(group, target, target + drawn.normal(0, 4, 400)), AuditSettings()).gaps
        for metric in null:
            null[metric] += gaps[metric].difference_low == 0

    assert min(null.values()) >= 0.92 * 400, null


def test_a_limit_on_the_largest_error_is_bounded_group_loss() -> None:
    group, target, predicted = rows(5, n=4000)
    audit = audit_table(empty().collected(group, target, predicted), AuditSettings())

    def verdict(bound: float) -> Verdict:
        return judge(Limit.of("mean_absolute_error", kind="worst-group", at_most=bound), audit).verdict

    assert (verdict(10), verdict(4)) == (Verdict.PASS, Verdict.FAIL)


def test_limits_in_the_targets_unit_may_be_over_one() -> None:
    assert Limit.of("mean_absolute_error", kind="difference", at_most=40).at_most == 40
    with pytest.raises(PlanError, match="at-most must be over 0, not 0"):
        Limit.of("mean_absolute_error", kind="difference", at_most=0)
    with pytest.raises(PlanError, match="its ratio has no interval"):
        Limit.of("mean_absolute_error", kind="ratio", at_least=0.8)


def test_the_error_over_all_rows_is_that_of_the_sum() -> None:
    group, target, predicted = rows(6)
    found = value_estimates(empty().collected(group, target, predicted).whole())

    assert found["mean_absolute_error"][UNKNOWN].value == pytest.approx(np.abs(predicted - target).mean())


def test_distances_of_predictions_are_measured_in_the_targets_unit() -> None:
    group, target, _ = rows(7, n=4000)
    table = empty(num_bins=140).collected(group, target, np.where(group == 1, 60.5, 50.5))
    audit = audit_table(table, AuditSettings())

    distances = measures_of_table(audit, table).distances(GROUPS[:2], confidence=0.95)

    assert distances["wasserstein"].difference == pytest.approx(10.0)
    assert distances["kolmogorov_smirnov"].difference == pytest.approx(1.0)
    assert distances["wasserstein"].highest == "m"
