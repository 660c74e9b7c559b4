"""One buffer with named views."""

import pytest
import torch
from torch import nn

from fedcore.errors import LayoutError
from fedcore.parameters import Layout, Parameters, bind, bind_gradients
from tests.builders import build_layout, build_parameters


def model(width=3):
    return nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width), nn.Linear(width, 1))


def test_a_model_survives_the_way_into_a_buffer_and_back():
    source, target = model(), model()
    Parameters.from_model(source).copy_to(target)
    for name, tensor in source.state_dict().items():
        if tensor.is_floating_point():
            assert torch.equal(tensor, target.state_dict()[name])


def test_trainable_parameters_come_first_then_floating_buffers_and_counters_stay_at_home():
    layout = Parameters.from_model(model()).layout
    assert layout.names[-2:] == ("1.running_mean", "1.running_var")
    assert layout.num_trained == sum(p.numel() for p in model().parameters())
    assert not any("num_batches" in name for name in layout.names)


def test_views_share_the_buffers_memory():
    parameters = Parameters.from_model(model())
    parameters["0.weight"].fill_(7.0)
    assert int((parameters.buffer == 7.0).sum()) == 6


def test_arithmetic_is_that_of_vectors():
    one, two = build_parameters(3.0, 4.0), build_parameters(1.0, 1.0)
    assert one.norm() == 5.0
    assert one.sub(two).buffer.tolist() == [2.0, 3.0]
    assert one.clone().add_(two, scale=-2.0).buffer.tolist() == [1.0, 2.0]
    assert one.zeros_like().buffer.tolist() == [0.0, 0.0]
    assert one.buffer.tolist() == [3.0, 4.0]


def test_the_norm_of_large_float32_numbers_does_not_overflow():
    assert build_parameters(3e38, 3e38).norm() == pytest.approx(3e38 * 2**0.5)


def test_a_bound_model_trains_in_the_buffer():
    network = model()
    parameters = bind(network, torch.float32, torch.device("cpu"))
    gradient = bind_gradients(network, parameters)
    before = parameters.buffer.clone()
    network(torch.randn(5, 2)).sum().backward()
    assert float(gradient.abs().sum()) > 0
    torch.optim.SGD(network.parameters(), lr=0.1).step()
    trained = slice(0, parameters.layout.num_trained)
    assert torch.allclose(before[trained] - parameters.buffer[trained], 0.1 * gradient, atol=1e-6)
    assert not torch.equal(parameters["1.running_mean"], torch.zeros(3))
    parameters.buffer.copy_(before)
    assert torch.equal(network[0].weight.flatten(), before[:6])


def test_another_models_parameters_are_refused_with_the_first_difference():
    with pytest.raises(
        LayoutError, match=r"expected tensor '0.weight' of shape \(3, 2\), found '0.weight' of shape \(4, 2\)"
    ):
        Parameters.from_model(model(3)).copy_to(model(4))
    with pytest.raises(LayoutError, match="different models"):
        build_parameters(1.0).add_(Parameters(torch.ones(1), Layout(("other",), ((1,),), 1)))


@pytest.mark.parametrize("buffer", [torch.zeros(2), torch.zeros(3, 1), torch.zeros(3, dtype=torch.float16)])
def test_a_buffer_that_does_not_fit_is_refused(buffer):
    with pytest.raises(LayoutError):
        Parameters(buffer, build_layout(3))


def test_a_model_with_nothing_to_train_is_refused():
    with pytest.raises(LayoutError, match="no trainable parameter"):
        Parameters.from_model(nn.ReLU())
