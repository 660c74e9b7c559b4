"""What is called proven treats rows apart, and what might not is not called so."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from fedcore import Classification, Examples, LanguageModelling, Reconstruction, Regression
from fedcore.layers import Times
from fedcore.privacy.isolation import Level
from fedcore.privacy.isolation_proof import _LAYERS, least_isolation, part_problem, shape_problem
from fedcore.tasks.registry import TASKS, load_task
from fedcore_clients.training.dp.ghost_rules import rule_of
from fedcore_clients.training.dp.rowwise import RowwiseTask
from tests.builders import TinyTask, build_plan, build_private_plan

_MADE = {
    Times: lambda: Times(3.0),
    nn.Linear: lambda: nn.Linear(4, 3),
    nn.Conv1d: lambda: nn.Conv1d(4, 5, 3),
    nn.Conv2d: lambda: nn.Conv2d(4, 5, 3, padding=1),
    nn.Embedding: lambda: nn.Embedding(9, 3),
    nn.LayerNorm: lambda: nn.LayerNorm(4),
    nn.RMSNorm: lambda: nn.RMSNorm(4),
    nn.GroupNorm: lambda: nn.GroupNorm(2, 4),
    nn.Threshold: lambda: nn.Threshold(0.1, 0.0),
    nn.Unflatten: lambda: nn.Unflatten(1, (2, 2)),
    nn.Softmax: lambda: nn.Softmax(1),
    nn.LogSoftmax: lambda: nn.LogSoftmax(-1),
    nn.Dropout: lambda: nn.Dropout(0.0),
    nn.Dropout1d: lambda: nn.Dropout1d(0.0),
    nn.Dropout2d: lambda: nn.Dropout2d(0.0),
    nn.AlphaDropout: lambda: nn.AlphaDropout(0.0),
    **{kind: lambda kind=kind: kind(2) for kind in (nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d)},
    **{kind: lambda kind=kind: kind(2) for kind in (nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d)},
    **{kind: lambda kind=kind: kind(2) for kind in (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)},
}


@pytest.mark.parametrize("kind", list(_LAYERS), ids=lambda kind: kind.__name__)
def test_a_layer_that_counts_as_known_keeps_rows_apart_at_every_number_of_dimensions_it_takes(kind):
    """Every dimension is as long as the batch, so that no error of shapes helps."""
    layer, taken = _MADE.get(kind, kind)(), 0
    for dimensions, shape in ((2, (4, 4)), (3, (4, 4, 4)), (4, (4, 4, 4, 4))):
        expected = _LAYERS[kind](layer, dimensions)
        if expected is None:
            continue
        if kind is nn.Embedding:
            assert layer(torch.ones(shape, dtype=torch.int64)).ndim == expected
            return
        inputs = torch.randn(shape, requires_grad=True)
        output = layer(inputs)
        assert (output.ndim, len(output)) == (expected, 4)
        (gradient,) = torch.autograd.grad(output[1].square().sum(), inputs)
        assert float(gradient[[0, 2, 3]].abs().max()) == 0.0
        taken += 1
    assert taken


def test_each_known_layer_with_parameters_has_a_gradient_rule_of_fedcore():
    for kind in _LAYERS:
        layer = _MADE.get(kind, kind)()
        assert rule_of(layer) is not None or not list(layer.parameters()), kind


@pytest.mark.parametrize("name", [name for name in TASKS.rows if name != "tabular"])
def test_reference_tasks_are_proven(name):
    plan = build_private_plan(task={"name": name})
    task = load_task(plan)
    model, rows = task.build_model(), task.load_data(None).batch(slice(0, 2))
    assert RowwiseTask.from_plan(task, model, plan).isolation(rows).level is Level.PROVEN
    assert least_isolation(task, model, plan).level is Level.PROVEN


def test_a_tabular_model_is_made_of_known_layers():
    task = TinyTask(model=lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)))
    assert least_isolation(task, task.build_model(), build_private_plan()).level is Level.PROVEN


def hooked():
    layer = nn.Linear(4, 2)
    layer.register_forward_hook(lambda module, args, output: output - output.mean(0))
    return layer


def overridden():
    layer = nn.Linear(4, 2)
    layer.forward = lambda inputs: functional.linear(inputs - inputs.mean(0), layer.weight, layer.bias)
    return layer


class Centred(nn.Linear):
    def forward(self, inputs):
        return super().forward(inputs - inputs.mean(0))


class Backwards(nn.Sequential):
    def forward(self, inputs):
        return super().forward(inputs.flip(0))


def parametrised():
    return nn.utils.parametrizations.weight_norm(nn.Linear(4, 2))


def tied():
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    return nn.Sequential(first, second, nn.Linear(4, 2))


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (hooked, "hook"),
        (overridden, "forward pass of its own"),
        (lambda: Centred(4, 2), "Centred"),
        (lambda: Backwards(nn.Linear(4, 2)), "Backwards"),
        (lambda: nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2)), "BatchNorm1d"),
        (parametrised, "not a layer that is known"),
        (tied, "share a parameter"),
    ],
)
def test_a_model_with_a_part_of_its_own_is_not_proven(model, reason):
    assert reason in part_problem(TinyTask(), model())
    assert least_isolation(TinyTask(), model(), build_private_plan()).level is Level.PROBED


class OtherLoss(TinyTask):
    def loss(self, model, batch):
        return functional.cross_entropy(model(batch["inputs"]), batch["targets"], reduction="none")


class OtherPrediction(TinyTask):
    def predict(self, model, batch):
        return torch.softmax(model(batch["inputs"]), 1)


def test_a_loss_or_prediction_of_ones_own_is_not_proven():
    replaced = TinyTask()
    replaced.loss = OtherLoss().loss
    for task in (OtherLoss(), OtherPrediction(), replaced):
        assert "of its own" in part_problem(task, nn.Linear(4, 2))


def made(family):
    return type("Made", (family,), {"build_model": lambda self: None, "load_data": lambda self, path: Examples})()


@pytest.mark.parametrize(
    ("family", "model", "inputs", "targets"),
    [
        (Classification, nn.Linear(4, 2), 1, 1),  # rows for features
        (Classification, nn.Linear(4, 2), 3, 1),  # classes in the wrong dimension
        (Classification, nn.Linear(4, 2), 2, 2),
        (Classification, nn.Sequential(nn.Softmax(0), nn.Linear(4, 2)), 2, 1),
        (Classification, nn.Sequential(nn.Softmax(-2), nn.Linear(4, 2)), 2, 1),
        (Classification, nn.Sequential(nn.Flatten(0), nn.Unflatten(0, (-1, 2))), 2, 1),
        (Classification, nn.Sequential(nn.Flatten(-2)), 2, 1),
        (Classification, nn.LayerNorm((8, 4)), 2, 1),  # a batch of 8 is normalised as one
        (Classification, nn.Sequential(nn.Conv2d(8, 1, 1), nn.Flatten()), 3, 1),  # a batch of 8 for channels
        (Regression, nn.Identity(), 3, 1),
        (Regression, nn.Linear(4, 1), 2, 2),
        (LanguageModelling, nn.Embedding(9, 9), 1, 1),
        (Reconstruction, nn.Flatten(), 3, None),  # (n, 1, d) against (n, d) compares every row with every other
    ],
)
def test_shapes_in_which_rows_could_meet_are_not_proven(family, model, inputs, targets):
    dimensions = {"inputs": inputs} | ({} if targets is None else {"targets": targets})
    assert shape_problem(made(family), model, dimensions)


@pytest.mark.parametrize(
    ("family", "model", "inputs", "targets"),
    [
        (Classification, nn.Linear(4, 2), 2, 1),
        (Regression, nn.Linear(4, 1), 2, 1),
        (LanguageModelling, nn.Embedding(9, 9), 2, 2),
        (Reconstruction, nn.Linear(4, 4), 3, None),
    ],
)
def test_each_family_is_proven_over_known_layers(family, model, inputs, targets):
    dimensions = {"inputs": inputs} | ({} if targets is None else {"targets": targets})
    assert part_problem(made(family), model) == shape_problem(made(family), model, dimensions) == ""


def test_the_plan_decides_what_a_server_may_state_without_data():
    stated = {
        wanted: least_isolation(OtherLoss(), nn.Linear(4, 2), build_plan(privacy={"isolation": wanted})).level
        for wanted in ("auto", "isolated", "probed")
    }
    assert stated == {"auto": Level.PROBED, "isolated": Level.ISOLATED, "probed": Level.PROBED}


class Foreign:
    """Arithmetic of somebody's own."""

    def __mul__(self, rows):
        return rows * rows.max()


def test_a_factor_that_is_no_number_is_not_proven():
    layer = Times(3.0)
    layer.factor = Foreign()
    assert "something other than a number" in part_problem(TinyTask(), nn.Sequential(nn.Linear(4, 2), layer))
    assert part_problem(TinyTask(), nn.Sequential(nn.Linear(4, 2), Times(2))) == ""


def test_a_compiled_layer_is_not_proven():
    layer = nn.Linear(4, 2)
    layer._compiled_call_impl = lambda rows: rows.flip(0)
    assert "forward pass of its own" in part_problem(TinyTask(), nn.Sequential(layer))
