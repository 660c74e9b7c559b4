"""``fedcore doctor`` tries a task on a device that is not there."""

import pytest
import torch
from torch import nn

from fedcore.checkup.finding import State
from fedcore.seeding import derive_seed
from fedcore_clients.checkup.device import device_trial
from tests.builders import TinyTask, build_client, build_plan, build_private_plan
from tests.clients.test_training import Tied, Unknown, attention, cnn, lstm, shifted

ON_AUTO = {"training": {"device": "auto"}}
BUILDERS = [build_plan, build_private_plan]


def tried(task, build=build_plan):
    return list(device_trial(task, build(**ON_AUTO), build_client()))


class Waits(TinyTask):
    def loss(self, model, batch):
        losses = super().loss(model, batch)
        return losses * min(1.0, 5.0 / float(losses.detach().max()))


class MixesDevices(TinyTask):
    def loss(self, model, batch):
        return super().loss(model, batch) * torch.ones(len(batch["targets"]))


class UsesFloat64(TinyTask):
    def loss(self, model, batch):
        return super().loss(model, batch).double()


class ForgetsABuffer(nn.Module):
    """A tensor that is an attribute and no buffer stays on the CPU."""

    def __init__(self):
        super().__init__()
        self.layer, self.mean = nn.Linear(4, 2), torch.zeros(4)

    def forward(self, inputs):
        return self.layer(inputs - self.mean)


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("model", [None, cnn, Tied, Unknown, shifted, lstm, attention])
def test_a_task_that_would_run_is_said_to(model, build, caplog):
    (found,) = tried(TinyTask(model=model), build)
    assert "cannot be computed" not in caplog.text
    assert found.state is State.OK, found.what
    assert "would run on a GPU and on Apple's MPS" in found.what


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize(
    ("task", "kind", "what"),
    [
        (MixesDevices(), "a GPU", "found at least two devices"),
        (TinyTask(model=ForgetsABuffer), "a GPU", "found at least two devices"),
        (UsesFloat64(), "Apple's MPS", "does not support float64"),
    ],
)
def test_what_a_device_would_refuse_is_found_with_its_line(task, kind, what, build):
    (found,) = tried(task, build)
    assert found.state is State.WARNING
    assert kind in found.what
    assert what in found.what
    assert "tests/clients/test_device_checkup.py:" in found.what


METHODS = [{"algorithm": {"name": "scaffold"}}, {"aggregation": {"encode": ["top-k:0.5"]}}]


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("method", METHODS)
def test_a_method_that_shares_or_keeps_vectors_is_tried_with_zeros(method, build):
    (found,) = device_trial(TinyTask(), build(**ON_AUTO, **method), build_client())
    assert found.state is State.OK, found.what


def test_code_that_waits_for_the_device_is_named():
    (found,) = tried(Waits())
    assert found.state is State.WARNING
    assert "makes it wait in every step: tests/clients/test_device_checkup.py:" in found.what
    assert found.what.count("test_device_checkup.py") == 1


def test_a_task_that_fails_by_itself_is_no_finding_about_devices():
    class Fails(TinyTask):
        def loss(self, model, batch):
            raise ValueError("patient 4711")

    (found,) = tried(Fails())
    assert found.state is State.SKIPPED
    assert "4711" not in found.what


def test_nothing_is_tried_for_a_plan_that_names_the_cpu():
    assert list(device_trial(MixesDevices(), build_plan(), build_client())) == []


def test_the_trial_leaves_the_random_state_alone():
    torch.manual_seed(derive_seed(0))
    before = torch.get_rng_state()
    tried(TinyTask())
    assert torch.equal(torch.get_rng_state(), before)
