"""What a client keeps between rounds."""

import os
import time
from dataclasses import replace

import pytest
import torch

from fedcore.aggregation.contract import Array
from fedcore.errors import DataError
from fedcore_clients.agent.home import ClientHome
from fedcore_clients.training.memory import ClientMemory
from tests.builders import build_parameters, build_request

KEPT = {"own": Array(dtype="float32", size=2)}


def memory(path, plan="a"):
    return ClientMemory(path, KEPT, plan_sha256=plan)


def request(round):
    return build_request(build_parameters(0.0, 0.0), round=round)


def remembered(path, round, plan="a", **changes):
    return memory(path, plan).recall("north", replace(request(round), **changes))["own"].tolist()


def train(path, round, *values, attempt=0):
    at, asked = memory(path), replace(request(round), attempt=attempt)
    at.keep("north", asked, before=at.recall("north", asked), after={"own": torch.tensor(values)})


def test_a_round_that_is_asked_again_starts_from_what_was_kept_before_it(tmp_path):
    train(tmp_path, 1, 1.0, 1.0)
    train(tmp_path, 2, 2.0, 2.0)
    assert remembered(tmp_path, 3) == [2.0, 2.0]
    assert remembered(tmp_path, 2) == [1.0, 1.0]


@pytest.mark.parametrize(("attempt", "expected"), [(0, [1.0, 1.0]), (1, [2.0, 2.0])])
def test_an_attempt_that_failed_leaves_nothing(tmp_path, attempt, expected):
    train(tmp_path, 1, 1.0, 1.0)
    train(tmp_path, 2, 2.0, 2.0, attempt=attempt)
    assert remembered(tmp_path, 4, retried={2: 1}) == expected
    assert remembered(tmp_path, 4, retried={3: 1}) == ([2.0, 2.0] if attempt == 0 else [1.0, 1.0])


@pytest.mark.parametrize(("round", "plan"), [(1, "a"), (3, "b")])
def test_a_run_begun_anew_and_another_plan_start_from_zeros(tmp_path, round, plan):
    train(tmp_path, 2, 2.0, 2.0)
    assert remembered(tmp_path, round, plan) == [0.0, 0.0]


def test_a_bad_round_does_not_spoil_those_that_follow(tmp_path):
    train(tmp_path, 1, 1.0, 1.0)
    train(tmp_path, 2, float("nan"), 2.0)
    assert remembered(tmp_path, 3) == [1.0, 1.0]


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x80\x04K\x01."])
def test_a_damaged_file_is_refused(tmp_path, content):
    train(tmp_path, 1, 1.0, 1.0)
    next(tmp_path.iterdir()).write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        remembered(tmp_path, 2)


def test_vectors_that_were_not_declared_are_not_kept(tmp_path):
    with pytest.raises(DataError, match="expected 'own' to keep as 2 float32"):
        memory(tmp_path).keep("north", request(1), before={}, after={"own": torch.zeros(3)})


def test_a_home_forgets_runs_that_asked_nothing_for_a_month_and_no_others(tmp_path):
    home = ClientHome(tmp_path)
    for run, days in (("over", 31), ("going on", 29)):
        home.memory_of(run).mkdir(parents=True)
        os.utime(home.memory_of(run), times=(time.time() - days * 86400,) * 2)
    home.forget_old_runs()
    assert [home.memory_of(run).exists() for run in ("over", "going on")] == [False, True]
