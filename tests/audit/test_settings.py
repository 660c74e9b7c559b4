from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from fedcore.audit.verdict.limits import Limit
from fedcore.audit.verdict.settings import AuditSettings
from fedcore.errors import PlanError


@pytest.mark.parametrize("bound", [0.8, "0.8", "4/5"])
def test_a_bound_is_the_decimal_that_was_written(bound: float | str) -> None:
    assert Limit.of("selection_rate", kind="ratio", at_least=bound).at_least == Fraction(4, 5)


def test_a_limit_says_in_words_what_it_limits() -> None:
    assert Limit.of("selection_rate", attribute="sex", kind="ratio", at_least=0.8).words == (
        "selection rate ratio over sex at least 0.8"
    )
    assert Limit.of("accuracy", kind="difference", at_most=0.05).words == (
        "accuracy difference over every attribute at most 0.05"
    )


@pytest.mark.parametrize(
    ("parts", "problems"),
    [
        ({"kind": "ratio"}, ["a ratio needs at-least"]),
        ({"kind": "difference"}, ["a difference needs at-most"]),
        (
            {"kind": "ratio", "at_most": 0.8},
            ["a ratio takes at-least, not at-most", "a ratio needs at-least"],
        ),
        (
            {"kind": "difference", "at_most": 0.1, "at_least": 0.1},
            ["a difference takes at-most, not at-least"],
        ),
        ({"kind": "ratio", "at_least": 0}, ["at-least must be over 0 and at most 1, not 0"]),
        ({"kind": "ratio", "at_least": 80}, ["at-least must be over 0 and at most 1, not 80"]),
        ({"kind": "difference", "at_most": -0.1}, ["at-most must be over 0 and at most 1, not -0.1"]),
        ({"kind": "gap", "at_most": 0.1}, ["kind must be 'difference', 'ratio' or 'worst-group', not 'gap'"]),
        ({"kind": "ratio", "at_least": "much"}, ["'much' is no number"]),
        (
            {"metric": "selction_rate", "kind": "ratio"},
            ["unknown metric 'selction_rate'; did you mean 'selection_rate'?", "a ratio needs at-least"],
        ),
        ({"metric": "f1", "kind": "ratio", "at_least": 1}, ["the metrics are accuracy, selection_rate"]),
    ],
)
def test_a_limit_that_contradicts_itself_is_refused_with_every_problem(
    parts: dict[str, Any], problems: list[str]
) -> None:
    with pytest.raises(PlanError) as refusal:
        Limit.of(parts.pop("metric", "selection_rate"), **parts)

    assert len(refusal.value.problems) == len(problems)
    for found, expected in zip(refusal.value.problems, problems, strict=True):
        assert expected in found


def test_settings_out_of_range_are_refused_with_every_problem() -> None:
    with pytest.raises(PlanError) as refusal:
        AuditSettings(threshold=1.5, confidence=95, min_cell=0, score_bins=1)

    assert [problem.split(" must")[0] for problem in refusal.value.problems] == [
        "audit: threshold", "audit: confidence", "audit: min-cell", "audit: score-bins",
    ]  # fmt: skip


def test_a_threshold_off_the_score_bins_is_refused_before_any_data_is_seen() -> None:
    with pytest.raises(PlanError, match=r"threshold 0\.55 is on no edge of 10 score bins; the nearest is 0\.6"):
        AuditSettings(threshold=0.55, score_bins=10)


def test_what_is_no_rate_has_no_limit_on_its_ratio() -> None:
    with pytest.raises(PlanError, match="'auc': it is no rate, and its ratio has no interval; limit its difference"):
        Limit.of("auc", kind="ratio", at_least=0.8)
