"""A device is usable when it works, not when it is listed."""

import pytest
import torch

from fedcore.errors import DeviceError
from fedcore_clients.device import resolve_device
from fedcore_simulations import simulate
from tests.builders import TinyTask, build_plan, build_private_plan

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")


def test_the_cpu_is_always_there():
    assert resolve_device("cpu").type == "cpu"


def test_auto_takes_a_device_that_works():
    assert resolve_device("auto").type in ("cpu", "cuda")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu:1", "cuda:", ""])
def test_a_name_that_means_nothing_is_refused(name):
    with pytest.raises(DeviceError, match="cuda"):
        resolve_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
@pytest.mark.parametrize("name", ["cuda", "cuda:3"])
def test_a_device_that_is_absent_is_an_error_and_not_replaced(name):
    with pytest.raises(DeviceError, match=rf"device '{name}' cannot be used.*use 'auto' or 'cpu'"):
        resolve_device(name)


@needs_cuda
@pytest.mark.cuda
@pytest.mark.parametrize("build", [build_plan, build_private_plan])
def test_a_cuda_device_gives_the_model_of_the_cpu_to_rounding(build):
    on = {
        device: simulate(TinyTask(), build(training={"device": device, "precision": "float64"}))
        for device in ("cpu", "cuda")
    }
    for name, tensor in on["cpu"].model.state_dict().items():
        assert torch.allclose(tensor, on["cuda"].model.state_dict()[name], atol=1e-9)
