from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcore.audit.tables.groups import UNKNOWN, GroupTable
from fedcore.errors import DataError
from tests.audit.builders import table_of

GROUPS = ("female", "male", UNKNOWN)
rows = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.floats(0, 1)), max_size=60)


def collect(**parts: Any) -> GroupTable:
    defaults: dict[str, Any] = {
        "attribute": "sex",
        "groups": GROUPS,
        "labels": ("no", "yes"),
        "group_codes": np.array([0, 1, 1]),
        "label_codes": np.array([0, 1, 0]),
    }
    if "predictions" not in parts:
        defaults |= {"scores": np.array([0.1, 0.9, 0.5]), "num_bins": 10}
    return GroupTable.collect(**{**defaults, **parts})


def from_rows(rows: list[tuple[int, int, float]]) -> GroupTable:
    group, label, score = (np.array(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    return collect(group_codes=group, label_codes=label, scores=score)


@given(st.lists(rows, max_size=5))
def test_the_sum_of_the_clients_tables_is_the_table_of_the_pooled_rows(clients: list[Any]) -> None:
    empty = GroupTable.zeros(attribute="sex", groups=GROUPS, labels=("no", "yes"), num_bins=10, scored=True)

    assert sum(map(from_rows, clients), empty) == from_rows([row for client in clients for row in client])


@given(rows)
def test_a_table_survives_json(rows: list[Any]) -> None:
    table = from_rows(rows)

    assert GroupTable.from_json(table.to_json()) == table


def test_a_row_is_counted_under_its_group_label_and_score_bin() -> None:
    table = collect(group_codes=[1], label_codes=[0], scores=[0.25])

    assert np.argwhere(table.counts).tolist() == [[1, 0, 2]]


def test_a_score_of_one_falls_into_the_last_bin() -> None:
    assert collect(scores=[1.0, 0.0, 0.95]).counts.sum(axis=(0, 1)).tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 2]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_score_on_an_edge_falls_where_the_comparison_with_a_threshold_puts_it(dtype: Any) -> None:
    # int(0.29 * 100) is 28 in floating point, though 0.29 >= 0.29.
    scores = (np.arange(1, 100) / 100).astype(dtype)
    zeros = np.zeros(99, dtype=np.int64)

    counts = collect(group_codes=zeros, label_codes=zeros, scores=scores, num_bins=100).counts

    assert counts.sum(axis=(0, 1)).tolist() == [0] + [1] * 99


def test_predictions_are_counted_by_class() -> None:
    table = collect(labels=("a", "b", "c"), label_codes=[0, 2, 1], predictions=[2, 2, 1])

    assert not table.scored
    assert np.argwhere(table.counts).tolist() == [[0, 0, 2], [1, 1, 1], [1, 2, 2]]


def test_a_client_without_a_group_sends_the_whole_vocabulary() -> None:
    assert collect(group_codes=[1, 1, 1]).group_sizes == {"female": 0, "male": 3, UNKNOWN: 0}


def test_counts_cannot_be_written_and_are_a_copy() -> None:
    counts = np.zeros((3, 2, 2), dtype=np.int64)
    table = GroupTable(attribute="sex", groups=GROUPS, labels=("no", "yes"), num_bins=2, scored=False, counts=counts)
    counts[0, 0, 0] = 7

    assert table.counts[0, 0, 0] == 0
    with pytest.raises(ValueError, match="read-only"):
        table.counts[0, 0, 0] = 7


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"group_codes": [0, 1, 3]}, "attribute 'sex': group code 3 is outside its vocabulary, 0 to 2"),
        ({"group_codes": [0, -1, 1]}, "group code -1 is outside"),
        ({"label_codes": [0, 2, 0]}, "attribute 'sex': label code 2 is outside its vocabulary, 0 to 1"),
        ({"predictions": [0, 2, 0]}, "predicted label code 2 is outside"),
        ({"group_codes": [0.0, 1.0, 1.0]}, "group codes must be one row of whole numbers, not float64"),
        ({"scores": [0.1, np.nan, 0.5]}, "a score is not a number or outside"),
        ({"scores": [0.1, 1.1, 0.5]}, "a score is not a number or outside"),
        ({"scores": [-0.1, 0.1, 0.5]}, "a score is not a number or outside"),
        ({"scores": [[0.1], [0.1], [0.5]]}, r"scores must be one row of numbers, not of shape \(3, 1\)"),
        ({"scores": [0.1, 0.5]}, "differ in length: 3, 3, 2 rows"),
        ({"scores": None}, "either scores or predictions"),
        ({"num_bins": None}, "scores need num_bins"),
        ({"num_bins": 1}, "2 labels and 2 bins or more, not 2 and 1"),
        ({"labels": ("a", "b", "c")}, "2 labels and 2 bins or more, not 3 and 10"),
        ({"predictions": [0, 1, 0], "num_bins": 3}, "one bin for each of the 2 labels, not 3"),
        ({"groups": ("female", "male", "other")}, "must hold 'unknown'"),
        ({"groups": ("male", "male", UNKNOWN)}, "groups must be different, non-empty names"),
        ({"labels": ("yes",)}, "two labels or more"),
    ],
)
def test_what_cannot_be_counted_is_refused(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        collect(**parts)


@pytest.mark.parametrize(
    ("other", "field"),
    [
        ({"attribute": "race"}, "attribute"),
        ({"groups": ("male", "female", UNKNOWN)}, "groups"),
        ({"labels": ("yes", "no")}, "labels"),
        ({"num_bins": 20}, "num_bins"),
        ({"predictions": [0, 1, 0]}, "num_bins"),
    ],
)
def test_tables_of_different_vocabularies_are_not_added(other: dict[str, Any], field: str) -> None:
    with pytest.raises(DataError, match=f"cannot be added: {field} is"):
        collect() + collect(**other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"counts": [[[1, 0], [0, -1]]] * 3}, "whole numbers of 0 or more"),
        ({"counts": [[[1, 0], [0, 1.5]]] * 3}, "whole numbers, not float64"),
        ({"counts": [[[True, False], [False, True]]] * 3}, "whole numbers of 0 or more"),
        ({"counts": [[["1", "0"], ["0", "1"]]] * 3}, "whole numbers, not"),
        ({"counts": [[[1, 0], [0, 2**80]]] * 3}, "whole numbers, not object"),
        ({"counts": [[[1, 0], [0]]] * 3}, "must have the shape"),
        ({"counts": [[[1, 0], [0, 1]]] * 2}, "must have the shape"),
        ({"num_bins": 2.0}, "num_bins must be a int, not a float"),
        ({"groups": "female"}, "groups must be a list"),
        ({"groups": ["female", 3, UNKNOWN]}, "groups must be different, non-empty names"),
        ({"extra": 1}, "exactly the keys attribute, groups, labels, num_bins, scored, counts"),
    ],
)
def test_a_table_from_outside_is_checked(change: dict[str, Any], message: str) -> None:
    content = table_of({"female": (1, 2, 3, 4), "male": (4, 3, 2, 1)}).to_json()

    with pytest.raises(DataError, match=message):
        GroupTable.from_json({**content, **change})
