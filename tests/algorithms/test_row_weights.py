"""Weights of rows: what they make of the counts that they come from."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fedcore.algorithms.fedminmax import weighed_by_group
from fedcore.algorithms.reweighing import reweighed
from fedcore.algorithms.row_weights import LARGEST, SMALLEST, RowWeights
from fedcore.audit.tables.groups import GroupTable
from fedcore.errors import DataError


def table(counts):
    """Groups female, male, unknown; labels no, yes; one bin holds all."""
    filled = np.zeros((3, 2, 4), dtype=np.int64)
    filled[:, :, 1] = counts
    return GroupTable(
        attribute="sex", groups=("female", "male", "unknown"), labels=("no", "yes"), num_bins=4, scored=True,
        counts=filled,
    )  # fmt: skip


COUNTS = np.array([[80, 20], [50, 150], [7, 3]])


def test_reweighed_rows_have_the_same_share_of_each_label_in_every_group():
    weights = np.array(reweighed(table(COUNTS)).factors)
    weighed = (weights * COUNTS)[:2]
    rates = weighed[:, 1] / weighed.sum(1)
    assert rates == pytest.approx([170 / 300, 170 / 300], abs=1e-12)
    assert weighed.sum() == pytest.approx(300)
    assert weighed.sum(1) == pytest.approx([100, 200])


def test_rows_of_unknown_group_and_empty_cells_keep_their_weight():
    weights = reweighed(table([[80, 0], [50, 150], [7, 3]])).factors
    assert weights[2] == (1.0, 1.0)
    assert weights[0][1] == 1.0


def test_a_strength_of_nothing_leaves_the_rows_as_they_are():
    assert reweighed(table(COUNTS), strength=0.0).factors == ((1.0, 1.0),) * 3


def test_a_cell_of_few_rows_cannot_rule_the_model():
    factors = np.array(reweighed(table([[10_000, 1], [1, 10_000], [0, 0]])).factors)
    assert factors.min() >= SMALLEST
    assert factors.max() == LARGEST


def test_groups_get_their_shares_of_the_loss():
    factors = np.array(weighed_by_group(table(COUNTS), {"female": 0.5, "male": 0.5}).factors)
    weighed = (factors * COUNTS)[:2].sum(1)
    assert weighed == pytest.approx([150, 150])
    assert factors[2].tolist() == [1.0, 1.0]


def test_each_row_is_given_the_factor_of_its_group_and_label():
    weights = RowWeights(attribute="sex", factors=((1.0, 2.0), (3.0, 4.0)))
    assert weights.for_rows(np.array([1, 0, 1]), np.array([0, 1, 1])).tolist() == [3.0, 2.0, 4.0]
    with pytest.raises(DataError, match="fewer groups or labels"):
        weights.for_rows(np.array([2]), np.array([0]))


def test_weights_survive_the_way_through_json():
    weights = reweighed(table(COUNTS))
    assert RowWeights.from_json(json.loads(json.dumps(weights.to_json()))) == weights


@pytest.mark.parametrize(
    "plain",
    [
        {},
        [],
        {"attribute": 3, "factors": [[1.0]]},
        {"attribute": "sex", "factors": []},
        {"attribute": "sex", "factors": [[1.0], [1.0, 2.0]]},
        {"attribute": "sex", "factors": [["x"]]},
        {"attribute": "sex", "factors": [[float("nan")]]},
        {"attribute": "sex", "factors": [[1e9]]},
        {"attribute": "sex", "factors": [[-1.0]]},
    ],
)
def test_what_is_no_table_of_factors_is_refused(plain):
    with pytest.raises(DataError, match="row weights"):
        RowWeights.from_json(plain)


def test_weights_are_a_value():
    weights = reweighed(table(COUNTS))
    assert replace(weights, attribute="race") != weights
