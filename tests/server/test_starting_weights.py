"""Runs that start from the weights in a file."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from fedcore.errors import PlanError
from fedcore.plan import RunPlan
from fedcore.plan.own_files import with_start
from fedcore.storage.mapped_bytes import mapped_file, sha256
from fedcore_server.rounds.rounds import init_state
from fedcore_server.runs.deployable_plan import deployable
from fedcore_simulations import simulate
from fedcore_simulations.runner import resume
from tests.builders import Stopping, TinyTask, build_plan
from tests.flower.driving import through_flower


def plan_from(path, **sections):
    return build_plan(task={"name": "tests.builders:TinyTask", "start_from": str(path)}, **sections)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    path = tmp_path_factory.mktemp("pretrained") / "run"
    simulate(TinyTask(), build_plan(), out=path)
    return path / "model.safetensors"


def changed(pretrained, path, **tensors):
    kept = {name: tensor for name, tensor in (load_file(pretrained) | tensors).items() if tensor is not None}
    save_file(kept, path)
    return path


def test_a_run_starts_from_the_weights_of_another(pretrained):
    state = init_state(TinyTask(), with_start(plan_from(pretrained)))
    for name, view in state.parameters:
        assert torch.equal(view, load_file(pretrained)[name])


def test_a_run_from_trained_weights_is_ahead_of_one_from_random_weights(pretrained):
    result = simulate(TinyTask(), plan_from(pretrained, federation={"rounds": 1}))
    fresh = simulate(TinyTask(), build_plan(federation={"rounds": 1}))
    assert result.metrics["loss"] < fresh.metrics["loss"]


def test_the_resolved_plan_has_the_hash_and_its_own_hash_does_not_depend_on_the_path(pretrained, tmp_path):
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(pretrained.read_bytes())
    here, there = (with_start(plan_from(path)) for path in (pretrained, copy))
    assert here.task.start_sha256 == sha256(mapped_file(pretrained))
    assert here.sha256 == there.sha256 != build_plan(task={"name": "tests.builders:TinyTask"}).sha256
    assert "start-from" not in here.to_shared()["task"]
    assert RunPlan.from_mapping(here.to_shared()).sha256 == here.sha256


def test_a_deployment_starts_from_the_servers_file(pretrained):
    plan = with_start(plan_from(pretrained))
    simulated, (deployed, _) = simulate(TinyTask(), plan), through_flower(plan)
    ours = torch.cat([tensor.flatten() for tensor in simulated.model.state_dict().values()])
    assert torch.equal(ours, deployed.state.released.buffer)


def test_a_deployable_plan_names_the_file_and_its_hash(pretrained, monkeypatch):
    monkeypatch.chdir(pretrained.parent)
    plan = deployable(plan_from("model.safetensors", aggregation={"rule": "uniform"}))
    assert plan.task.start_from == str(pretrained)
    assert plan.task.start_sha256 == sha256(mapped_file(pretrained))


def test_a_run_is_not_resumed_from_a_file_that_was_changed(pretrained, tmp_path):
    file = changed(pretrained, tmp_path / "start.safetensors")
    with pytest.raises(KeyboardInterrupt):
        simulate(None, plan_from(file), out=tmp_path / "run", listeners=[Stopping()])
    content = file.read_bytes()
    changed(pretrained, file, **{"0.bias": torch.zeros(8)})
    with pytest.raises(PlanError, match=r"it was changed\. Put the old file back"):
        resume(tmp_path / "run")
    file.write_bytes(content)
    assert resume(tmp_path / "run").summary["rounds"] == 3


@pytest.mark.parametrize(
    ("tensors", "expected"),
    [
        ({"0.bias": None}, "the file lacks '0.bias'"),
        ({"head.bias": torch.zeros(2)}, "the file has 'head.bias', which the task's model has not"),
        ({"0.bias": torch.zeros(9)}, r"0\.bias: expected the shape \(8,\), found \(9,\)"),
        ({"0.bias": torch.zeros(8, dtype=torch.int64)}, r"expected numbers of type torch\.float32, found torch\.int64"),
        ({"0.bias": torch.full((8,), torch.nan)}, "expected finite numbers"),
    ],
)
def test_a_file_of_another_model_is_refused_before_training(pretrained, tmp_path, tensors, expected):
    file = changed(pretrained, tmp_path / "other.safetensors", **tensors)
    with pytest.raises(PlanError, match=expected):
        simulate(TinyTask(), plan_from(file))


def frozen_first():
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    model[0].requires_grad_(False)
    return model


def tied():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    model[1].weight = model[0].weight
    return model


def test_frozen_weights_must_be_those_of_build_model(tmp_path):
    task = TinyTask(model=frozen_first)
    simulate(task, build_plan(), out=tmp_path / "run")
    file = tmp_path / "run/model.safetensors"
    assert simulate(task, plan_from(file)).summary["rounds"] == 3
    changed(file, tmp_path / "other.safetensors", **{"0.weight": torch.zeros(8, 4)})
    with pytest.raises(PlanError, match=r"0\.weight: it is frozen"):
        simulate(task, plan_from(tmp_path / "other.safetensors"))


def test_shared_weights_are_in_the_file_once(tmp_path):
    task = TinyTask(model=tied)
    simulate(task, build_plan(), out=tmp_path / "run")
    file = tmp_path / "run/model.safetensors"
    assert torch.equal(init_state(task, plan_from(file)).parameters["0.weight"], load_file(file)["0.weight"])


@pytest.mark.parametrize(
    ("content", "expected"), [(None, "no file at"), (b"\x80\x04cos\nsystem\n", "is not in the format of safetensors")]
)
def test_what_is_no_such_file_is_refused(tmp_path, content, expected):
    file = tmp_path / "start.bin"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(PlanError, match=expected):
        with_start(plan_from(file))


def test_a_hash_without_a_file_is_refused():
    with pytest.raises(PlanError, match="which is absent"):
        with_start(build_plan(task={"start_sha256": "0" * 64}))


def test_the_privacy_statement_names_the_weights_as_public(pretrained):
    privacy = {"unit": "record", "noise_multiplier": 1.0, "noise": "test"}
    result = simulate(TinyTask(), plan_from(pretrained, privacy=privacy, aggregation={"rule": "uniform"}))
    assert result.plan.task.start_sha256 in result.privacy["public_data"]
