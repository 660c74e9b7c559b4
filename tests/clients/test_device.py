"""A device is usable when it works, not when it is listed, and used when it is worth it."""

import itertools
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from fedcore.errors import DeviceError
from fedcore_clients.training import device
from fedcore_clients.training.device import resolve_device
from fedcore_clients.training.device_choice import choose_device, step_operations
from fedcore_simulations import simulate
from fedcore_simulations.preparation import prepare
from tests.builders import TinyTask, build_plan, build_private_plan
from tests.models import Recurrent, plain
from tests.pretend_device import on_a_pretended_device

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")


def test_the_cpu_is_always_there():
    assert resolve_device("cpu").type == "cpu"


def test_auto_takes_a_device_that_works():
    assert resolve_device("auto").type in ("cpu", "cuda")


@pytest.mark.parametrize(
    "name", ["gpu", "cuda:x", "cpu:1", "cuda:", "", "cuda:01", "cuda:-1", "cuda:٣", "mps:0", "CUDA"]
)
def test_a_name_that_means_nothing_is_refused(name):
    with pytest.raises(DeviceError, match="expected a device auto, cpu, cuda"):
        resolve_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
@pytest.mark.parametrize("name", ["cuda", "cuda:3", "cuda:999"])
def test_a_device_that_is_absent_is_an_error_and_not_replaced(name):
    with pytest.raises(DeviceError, match=rf"device '{name}' cannot be used.*use 'auto' or 'cpu'"):
        resolve_device(name)


def on(name, build, precision):
    """A simulation on a device, or on one that is pretended."""
    pretended = name == "pretended"
    plan = build(training={"device": "cpu" if pretended else name, "precision": precision})
    with on_a_pretended_device() if pretended else nullcontext():
        return simulate(TinyTask(model=plain), plan)


# Three rounds of rounding: sums in another order, products by other kernels. The noise is the same.
@pytest.mark.parametrize("name", ["cpu", "pretended", pytest.param("cuda", marks=[needs_cuda, pytest.mark.cuda])])
@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize("build", [build_plan, build_private_plan])
def test_a_device_gives_the_model_of_the_cpu_to_rounding(build, precision, tolerance, name):
    expected, found = (on(each, build, precision).model.state_dict() for each in ("cpu", name))
    for key, tensor in expected.items():
        assert torch.allclose(tensor, found[key], atol=tolerance, rtol=0)


@needs_cuda
@pytest.mark.cuda
@pytest.mark.filterwarnings("ignore:RNN module weights are not part of single contiguous chunk:UserWarning")
def test_a_recurrent_model_trains_on_cuda_as_on_the_cpu():
    expected, found = (
        simulate(TinyTask(model=Recurrent), build_plan(training={"device": name, "precision": "float64"}))
        for name in ("cpu", "cuda")
    )
    for key, tensor in expected.model.state_dict().items():
        assert torch.allclose(tensor, found.model.state_dict()[key], atol=1e-9, rtol=0)


@pytest.fixture
def with_cuda(monkeypatch):
    """As if a CUDA device worked."""
    monkeypatch.setattr(device, "_cuda_devices", lambda: [torch.device("cuda", 0)])
    monkeypatch.setattr(device, "_failure", lambda _: None)


def mlp(*widths):
    return nn.Sequential(*(nn.Linear(*pair) for pair in itertools.pairwise(widths)))


@pytest.mark.usefixtures("with_cuda")
@pytest.mark.parametrize(
    ("model", "batch_size", "workers", "expected"),
    [
        (mlp(64, 64, 10), 32, 1, "cpu"),  # 4,810 numbers: 0.9 million operations
        (mlp(64, 64, 10), 512, 1, "cuda"),
        (mlp(784, 500, 10), 32, 1, "cuda"),  # 397,510 numbers: 76 million operations
        (mlp(784, 500, 10), 32, 16, "cpu"),
        (nn.Sequential(nn.Conv2d(1, 16, 5), nn.Flatten(), nn.Linear(64, 10)), 32, 1, "cuda"),
    ],
)
def test_auto_takes_the_cpu_for_a_small_model_and_says_so(model, batch_size, workers, expected):
    plan = build_plan(training={"batch_size": batch_size})
    choice = choose_device("auto", plan, lambda: model, workers=workers)
    assert choice.device.type == expected
    assert ("trained on the CPU: cuda:0 would be slower" in choice.note) is (expected == "cpu")


@pytest.mark.usefixtures("with_cuda")
def test_a_device_named_outright_is_used_however_small_the_model():
    choice = choose_device("cuda:0", build_plan(), plain)
    assert (str(choice.device), choice.note) == ("cuda:0", "")


def test_operations_of_a_step_are_six_for_each_weight_and_row():
    assert step_operations(mlp(64, 64, 10), 32) == 6 * 4810 * 32


@pytest.mark.usefixtures("with_cuda")
def test_a_simulation_says_why_it_leaves_a_device_alone():
    ready = prepare(TinyTask(), build_plan(training={"device": "auto"}))
    assert ready.device.type == "cpu"
    assert ready.device_note.startswith("trained on the CPU: cuda:0 would be slower with so small a model")
