"""A model that is no better than one label for everyone is warned of, and no other is."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from fedcore.audit.verdict.fairness import audit_tables
from fedcore.audit.verdict.settings import AuditSettings
from fedcore_server.rounds.driver import Outcome
from fedcore_server.runs.run_warnings import warnings_about
from fedcore_simulations import simulate
from tests.audit.builders import table_of
from tests.builders import TinyTask, build_plan

# For each group: true negative, false positive, false negative, true positive.
ALL_UNFAVOURABLE = {"female": (40, 0, 20, 0), "male": (30, 0, 10, 0)}
WORDS = "as by predicting their most frequent label"


def told(groups: dict[str, tuple[int, ...]], *, variance: float = 0.0, **settings: Any) -> list[str]:
    table = replace(table_of(groups), variance=variance)
    evaluation = SimpleNamespace(
        tables={"sex": table},
        audits=audit_tables([table], AuditSettings(**settings)),
        rejected=(),
    )
    outcome: Outcome = SimpleNamespace(evaluation=evaluation)  # type: ignore[assignment]
    return [words for words in warnings_about(outcome, None, None) if WORDS in words]


class Constant(nn.Module):
    """Learns nothing: always the first label."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.ones(len(inputs)), torch.zeros(len(inputs))], dim=1) + 0 * self.weight


@pytest.mark.parametrize(
    ("groups", "warned"),
    [
        (ALL_UNFAVOURABLE, True),
        ({"female": (40, 0, 20, 0), "male": (30, 0, 9, 1)}, False),  # one row more than 70 of 100
        ({"female": (40, 0, 20, 0), "male": (29, 1, 9, 1)}, True),  # as many
        ({"female": (0, 30, 0, 20), "male": (0, 10, 0, 40)}, True),  # all favourable: 60 of 100
        ({"female": (5, 10, 15, 20), "male": (10, 10, 10, 20)}, True),  # worse: 55 right, 65 favourable
        ({"female": (40, 0, 0, 20), "male": (30, 0, 0, 10)}, False),
    ],
)
def test_a_model_no_better_than_the_most_frequent_label_is_warned_of(
    groups: dict[str, tuple[int, ...]], warned: bool
) -> None:
    assert bool(told(groups)) is warned


def test_the_warning_names_the_label_and_the_accuracy() -> None:
    (words,) = told(ALL_UNFAVOURABLE)
    assert words.startswith("the model is right about 70.0 % of the held-out rows, as by predicting their ")
    assert "'no', for all of them" in words


def test_fewer_rows_than_may_be_shown_are_not_told_of() -> None:
    assert told({"female": (4, 0, 1, 0), "male": (2, 0, 2, 0)}, min_cell=9)
    assert not told({"female": (4, 0, 1, 0), "male": (2, 0, 2, 0)}, min_cell=10)


def test_a_run_that_passes_with_one_label_for_all_says_so() -> None:
    limits = [{"metric": "selection_rate", "kind": "difference", "at-most": 0.1}]
    summary = simulate(
        TinyTask(rows=900, model=Constant), build_plan(audit={"sensitive": ["sex"], "limits": limits})
    ).summary
    assert summary["audit_verdict"] == "PASS"
    assert [WORDS in words for words in summary["warnings"]].count(True) == 1


def test_counts_with_noise_are_not_told_of() -> None:
    tenfold = {group: tuple(10 * n for n in cells) for group, cells in ALL_UNFAVOURABLE.items()}
    assert told(tenfold)
    assert not told(tenfold, variance=4.0)


def test_of_targets_that_are_numbers_there_is_nothing_to_say() -> None:
    plan = build_plan(training={"learning-rate": 0.00002}, audit={"sensitive": ["sex"]})
    assert not any(WORDS in words for words in simulate("diabetes-progression", plan).summary["warnings"])
