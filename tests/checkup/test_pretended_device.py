"""The device that is pretended: numbers of the CPU, rules of a GPU."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

from tests.pretend_device import PretendedDevice
from tests.trust.builders import environment


def test_it_computes_what_the_cpu_computes():
    model = nn.Sequential(nn.Conv1d(1, 3, 2), nn.Flatten(), nn.Tanh(), nn.Linear(9, 2))
    rows = torch.randn(5, 1, 4)
    model(rows).square().sum().backward()
    expected = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    with PretendedDevice() as pretended:
        model.to(pretended.device)
        model(rows.to(pretended.device)).square().sum().backward()
        assert {parameter.grad.device.type for parameter in model.parameters()} == {"pretended"}
        found = [parameter.grad.cpu() for parameter in model.parameters()]
    assert all(torch.equal(one, two) for one, two in zip(found, expected, strict=True))


def test_tensors_of_two_devices_cannot_be_mixed_and_the_error_names_the_line():
    with PretendedDevice() as pretended:
        there = torch.ones(3, device=pretended.device)
        with pytest.raises(RuntimeError, match=r"two devices, pretended:0 and cpu.*test_pretended_device.py:\d+"):
            there + torch.ones(3)
        assert (there + torch.tensor(1.0)).tolist() == [2.0, 2.0, 2.0]  # a number is no vector, on a GPU too


def test_what_the_host_waits_for_and_what_it_sends_is_counted_by_line():
    with PretendedDevice() as pretended:
        there = torch.arange(4.0).to(pretended.device)
        assert float(there.sum()) == 6.0
        assert there[torch.tensor([1, 2])].tolist() == [1.0, 2.0]
        assert torch.nonzero(there > 1).flatten().tolist() == [2, 3]
        assert (pretended.reads.total(), pretended.writes.total()) == (4, 2)
        assert all("test_pretended_device.py:" in line for line in (*pretended.reads, *pretended.writes))
        pretended.reset()
        there.view(2, 2).t().add_(1.0)
        assert (pretended.reads.total(), pretended.writes.total(), pretended.kernels) == (0, 0, {"add_": 1})


def test_views_and_data_share_memory_as_on_a_device():
    with PretendedDevice() as pretended:
        buffer = torch.zeros(6, device=pretended.device)
        parameter = nn.Parameter(torch.ones(2, 2, device=pretended.device))
        parameter.data = buffer[2:].view(2, 2)
        buffer.add_(3.0)
        assert parameter.detach().tolist() == [[3.0, 3.0], [3.0, 3.0]]
        parameter.data.mul_(2.0)
        assert buffer.tolist() == [3.0, 3.0, 6.0, 6.0, 6.0, 6.0]
        assert parameter.is_set_to(buffer[2:].view(2, 2))
        assert not parameter.is_set_to(buffer[:4].view(2, 2))


def test_what_changes_its_shape_in_place_does_so_on_the_device_too():
    with PretendedDevice() as pretended:
        there = torch.arange(3.0).to(pretended.device)
        assert there.unsqueeze_(0).shape == (1, 3)
        assert there.t_().shape == there.shape == (3, 1)
        assert (there.squeeze_(1) @ there).tolist() == 5.0


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_give_the_numbers_of_the_cpu_to_rounding(layer, bias):
    """Devices have kernels of their own for their cells, which the CPU does not have."""
    model = layer(3, 5, 2, batch_first=True, bidirectional=True, bias=bias).double()
    rows = torch.randn(4, 6, 3, dtype=torch.float64)
    output = model(rows)[0]
    output.square().sum().backward()
    expected = [output.detach(), *(parameter.grad.clone() for parameter in model.parameters())]
    model.zero_grad()
    with PretendedDevice() as pretended:
        output = model.to(pretended.device)(rows.to(pretended.device))[0]
        output.square().sum().backward()
        found = [output.detach().cpu(), *(parameter.grad.cpu() for parameter in model.parameters())]
    for one, two in zip(found, expected, strict=True):
        assert torch.allclose(one, two, atol=1e-12, rtol=0)


def test_parameters_that_two_modules_share_stay_one_and_copies_are_apart():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    with PretendedDevice() as pretended:
        model.to(pretended.device)
        assert model[1].weight is model[0].weight
        other = copy.deepcopy(model)
        assert isinstance(other[0].weight, nn.Parameter)
        with torch.no_grad():
            other[0].weight.zero_()
        assert float(model[0].weight.detach().abs().sum()) > 0.0


def test_it_refuses_float64_and_large_tensors_where_it_has_neither():
    with PretendedDevice(float64=False, most_elements=10) as pretended:
        there = torch.ones(4, device=pretended.device)
        with pytest.raises(RuntimeError, match="does not support float64"):
            there.double()
        assert "does not support float64 (at tests/checkup/test_pretended_device.py:" in pretended.refused[0]
        with pytest.raises(torch.OutOfMemoryError, match="16 elements"):
            torch.outer(there, there)


def test_a_process_can_still_be_forked_for_workers_after_it():
    """In a new process, in which no backward pass was run before."""
    code = (
        "from tests.builders import TinyTask, build_plan\n"
        "from tests.pretend_device import PretendedDevice\n"
        "from fedcore_simulations import simulate\n"
        "import torch\n"
        "with PretendedDevice(): pass\n"
        "torch.ones(1, requires_grad=True).sum().backward()\n"
        "print(simulate(TinyTask(), build_plan(engine={'workers': 2})).summary['rounds'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout == "3\n"


def test_its_tensors_are_of_no_use_without_it():
    with PretendedDevice() as pretended:
        there = torch.ones(4, device=pretended.device)
    with pytest.raises(RuntimeError, match="outside of the device's with statement"):
        there + 1.0
