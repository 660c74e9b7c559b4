"""Models and losses that would void the guarantee are refused, each with the reason and the fix."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from fedcore.errors import PrivacyError, TaskError
from fedcore.privacy.linter import lint_model
from fedcore.task import check_task
from fedcore_clients.probe import probe_isolation
from fedcore_simulations import simulate
from tests.builders import TinyTask, build_plan


def probe(task):
    probe_isolation(task, task.build_model(), task.load_data(None))


def with_layer(layer):
    return lambda: nn.Sequential(nn.Linear(4, 8), layer, nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2))


@pytest.mark.parametrize(
    "layer", [nn.LayerNorm(8), nn.GroupNorm(2, 8), nn.RMSNorm(8), nn.PReLU(), nn.Identity(), nn.AlphaDropout(0.2)]
)
def test_layers_that_isolate_records_pass(layer):
    probe(TinyTask(model=with_layer(layer)))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.BatchNorm1d(8), r"1 \(BatchNorm1d\): batch normalisation .* use nn.GroupNorm or nn.LayerNorm"),
        (nn.BatchNorm1d(8, affine=False), "BatchNorm1d"),
        (nn.BatchNorm1d(8).requires_grad_(False), "BatchNorm1d"),
        (nn.SyncBatchNorm(8), "SyncBatchNorm"),
        (nn.InstanceNorm1d(8, track_running_stats=True), "running statistics"),
        (nn.LSTM(8, 8), "opacus.layers.DPLSTM"),
        (nn.RNN(8, 8), "opacus.layers.DPRNN"),
        (nn.MultiheadAttention(8, 2), "opacus.layers.DPMultiheadAttention"),
        (nn.Embedding(8, 8, padding_idx=0), "padding_idx"),
    ],
)
def test_a_layer_that_voids_the_guarantee_is_refused_with_the_fix(layer, message):
    with pytest.raises(PrivacyError, match=message):
        lint_model(with_layer(layer)())


class CentresOnItsBatch(nn.Module):
    """Batch statistics under a name of its own."""

    def forward(self, inputs):
        return inputs - inputs.mean(0)


def test_batch_statistics_without_a_telling_name_are_found_by_the_probe():
    with pytest.raises(PrivacyError, match="depends on the other records"):
        probe(TinyTask(model=with_layer(CentresOnItsBatch())))


class KeepsAnAverage(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("average", torch.zeros(8))

    def forward(self, inputs):
        return inputs - self.average


def test_a_buffer_that_would_be_averaged_and_released_is_refused():
    with pytest.raises(PrivacyError, match="floating-point buffer"):
        lint_model(with_layer(KeepsAnAverage())())


class Weighted(TinyTask):
    """Class weights divided by those of the batch, row by row."""

    def loss(self, model, batch):
        weights = torch.tensor([0.1, 1.0], dtype=batch["inputs"].dtype)[batch["targets"]]
        losses = functional.cross_entropy(model(batch["inputs"]), batch["targets"], reduction="none")
        return losses * weights / weights.sum()


def test_a_loss_weighted_over_the_batch_is_found_by_the_probe():
    with pytest.raises(PrivacyError, match="class weights divided by the batch's weights"):
        probe(Weighted())


class MeanLoss(TinyTask):
    def loss(self, model, batch):
        return functional.cross_entropy(model(batch["inputs"]), batch["targets"], weight=torch.tensor([0.1, 1.0]))


def test_a_class_weighted_mean_breaks_the_contract_of_a_task():
    task = MeanLoss()
    with pytest.raises(TaskError, match=r"one value for each row.*weighted by class"):
        check_task(task, task.build_model(), task.load_data(None))


class OwnWeights(TinyTask):
    """A weight that depends on the row's own class only: allowed."""

    def loss(self, model, batch):
        weights = torch.tensor([0.1, 1.0], dtype=batch["inputs"].dtype)
        return functional.cross_entropy(model(batch["inputs"]), batch["targets"], weight=weights, reduction="none")


def test_class_weights_that_are_constants_pass():
    probe(OwnWeights())


def test_a_simulation_refuses_before_anything_is_trained(tmp_path):
    plan = build_plan(privacy={"unit": "record", "noise_multiplier": 1.0})
    with pytest.raises(PrivacyError):
        simulate(TinyTask(model=with_layer(nn.BatchNorm1d(8))), plan, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_without_privacy_the_same_model_is_trained():
    assert simulate(TinyTask(model=with_layer(nn.BatchNorm1d(8))), build_plan()).metrics["accuracy"] > 0.4
