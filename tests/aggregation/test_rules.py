"""Rules, against scipy and hostile clients."""

import pytest
import torch
from scipy.stats import trim_mean

from fedcore.aggregation.contract import Rule
from fedcore.aggregation.mean import Mean
from fedcore.aggregation.trimmed_mean import TrimmedMean, left_out
from fedcore.errors import PlanError
from fedcore.method.method import Method
from tests.builders import build_plan, build_update, combined


def test_the_trimmed_mean_is_scipys():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(11, 5, generator=generator)
    updates = [build_update(f"c{index}", *row.tolist()) for index, row in enumerate(rows)]
    expected = torch.from_numpy(trim_mean(rows.double().numpy(), 0.2, axis=0))
    torch.testing.assert_close(combined(TrimmedMean(0.2), updates), expected)


def test_two_of_ten_hostile_clients_move_the_mean_anywhere_and_the_trimmed_mean_within_the_others():
    honest = [build_update(f"c{index}", 1.0 + index / 10) for index in range(8)]
    hostile = [build_update("x", 1e6), build_update("y", 1e6)]
    assert float(combined(Mean(), [*honest, *hostile])) > 1e5
    assert 1.0 <= float(combined(TrimmedMean(0.2), [*honest, *hostile])) <= 1.7


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"aggregation": {"rule": "trimmed-mean:0.2"}}, "none of fewer than 5 updates is left out"),
        ({"aggregation": {"rule": "trimmed-mean:0.5"}}, "expected a number between 0 and 0.5"),
        ({"aggregation": {"rule": "trimed-mean"}}, "did you mean 'trimmed-mean'"),
        ({"aggregation": {"rule": "mean:2"}}, "its options are: none"),
        (
            {
                "aggregation": {"rule": "trimmed-mean:0.3"},
                "federation": {"quorum": 4},
                "privacy": {"unit": "client", "noise_multiplier": 1.0},
            },
            "no noise can be scaled to it",
        ),
        (
            {
                "aggregation": {"rule": "trimmed-mean:0.3"},
                "federation": {"quorum": 4},
                "algorithm": {"name": "agnostic"},
            },
            "has no weights, and algorithm 'agnostic' weighs clients",
        ),
        (
            {
                "aggregation": {"rule": "mean"},
                "privacy": {
                    "unit": "record",
                    "noise_multiplier": 1.0,
                    "relation": "add-remove",
                    "nominal_batch": 5.0,
                },
            },
            "examples, secret with relation add-remove",
        ),
    ],
)
def test_a_rule_that_does_not_fit_is_refused_before_training(sections, words):
    with pytest.raises(PlanError, match=words):
        Method.of(build_plan(**sections))


class Hundredth(Rule):
    """A sum of hundredths, which says so."""

    def sensitivity(self, clip_norm):
        return clip_norm / 100


def test_a_rule_that_sums_something_else_than_the_updates_gets_no_noise_of_client_level_privacy():
    privacy = {"unit": "client", "noise_multiplier": 1.0}
    with pytest.raises(PlanError, match="not a sum in which each client counts once"):
        Method.of(build_plan(aggregation={"rule": f"{__name__}:Hundredth"}, privacy=privacy))


@pytest.mark.parametrize(
    ("share", "updates", "expected"), [(0.29, 100, 29), (1 / 161, 161, 1), (0.2, 4, 0), (0.49, 3, 1)]
)
def test_as_many_are_left_out_as_the_share_says(share, updates, expected):
    assert left_out(share, updates) == expected
