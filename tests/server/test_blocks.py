"""Updates that come in a block are judged and added as single ones are."""

import math
from dataclasses import replace

import pytest
import torch

from fedcore.messages import UpdateBlock
from fedcore.metrics import Metrics
from fedcore_server.rounds.rounds import close_round
from fedcore_server.rounds.state import ServerState
from tests.builders import build_parameters, build_plan, build_request, build_update

NAMES = tuple(f"client-{number}" for number in range(40))
CLIENT = {
    "unit": "client",
    "noise_multiplier": 1e-6,
    "clip_norm": 1.0,
    "noise": "test",
    "delta": 1e-5,
}


def updates():
    """Forty, and among them one of each kind that is not counted."""
    generator = torch.Generator().manual_seed(0)
    found = [
        build_update(name, *torch.randn(3, generator=generator).tolist(), num_examples=number + 1)
        for number, name in enumerate(NAMES)
    ]
    found[3] = replace(found[3], values={"update": torch.tensor([1.0, math.nan, 0.0])})
    found[5] = replace(found[5], client="stranger")
    found[7] = replace(found[7], client="client-8")
    found[11] = replace(found[11], num_examples=-1)
    found[13] = replace(found[13], metrics=Metrics(sums={"loss": math.inf}, counts={"loss": 1.0}))
    found[17] = replace(found[17], values={"update": torch.full((3,), 1e8)})
    loss = Metrics(sums={"loss": 1.0}, counts={"loss": 2.0})
    return [each if each.metrics.sums else replace(each, metrics=loss) for each in found]


def blocks(given, size):
    for start in range(0, len(given), size):
        yield UpdateBlock.joined([UpdateBlock.of(update) for update in given[start : start + size]])


@pytest.mark.parametrize("size", [1, 7, 40])
@pytest.mark.parametrize("sections", [{}, {"privacy": CLIENT, "aggregation": {"rule": "uniform"}}])
@pytest.mark.parametrize("earlier", [{}, {"gate": {"usual_norms": [dict.fromkeys(NAMES[:30], 1.0)]}}])
def test_a_block_is_worth_its_updates(size, sections, earlier):
    plan = build_plan(federation={"clients": 40, "quorum": 1}, **sections)
    state = ServerState(round=0, parameters=build_parameters(0.0, 0.0, 0.0), parts=earlier)
    request = build_request(state.parameters, cohort=NAMES)
    expected, report = close_round(state, plan, request, updates())
    found, seen = close_round(state, plan, request, blocks(updates(), size))
    assert torch.allclose(found.parameters.buffer, expected.parameters.buffer, atol=1e-6)
    assert set(seen.counted) == set(report.counted)
    assert {(each.client, each.code, each.reason) for each in seen.rejected} == {
        (each.client, each.code, each.reason) for each in report.rejected
    }
    assert {each.code for each in report.rejected} == (
        {"NONFINITE", "NOT_EXPECTED", "DUPLICATE", "WEIGHT", "METRICS", "NORM"}
        if not sections
        else {"NOT_EXPECTED", "DUPLICATE", "WEIGHT"}
    )
    assert seen.training == report.training
    assert seen.num_examples == report.num_examples


def test_a_block_of_another_shape_costs_no_more_than_its_rows():
    plan = build_plan(federation={"clients": 40, "quorum": 1})
    state = ServerState(round=0, parameters=build_parameters(0.0, 0.0, 0.0))
    request = build_request(state.parameters, cohort=NAMES)
    good, bad = (
        blocks(updates()[20:24], 4),
        replace(next(blocks(updates()[30:32], 2)), values={"update": torch.ones(2, 4)}),
    )
    _, report = close_round(state, plan, request, [*good, bad])
    assert len(report.counted) == 4
    assert [(each.client, each.code) for each in report.rejected] == [("client-30", "LAYOUT"), ("client-31", "LAYOUT")]
