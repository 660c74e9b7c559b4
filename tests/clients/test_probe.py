"""Models and losses that would void the guarantee are refused, each with the reason and the fix."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from fedcore.errors import PrivacyError, TaskError
from fedcore.privacy.linter import lint_model
from fedcore.task import check_task
from fedcore_clients.training.dp.probe import probe_isolation
from fedcore_clients.training.train import train_locally
from fedcore_simulations import simulate
from tests.builders import TinyTask, build_client, build_local, build_plan, build_private_plan, build_request


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
        (nn.Embedding(8, 8, max_norm=1.0), "max_norm rescales"),
        (nn.EmbeddingBag(8, 8, max_norm=1.0), "max_norm rescales"),
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


class GatedBatchStatistics(nn.Module):
    """A branch that starts at zero, and couples records once it has learned."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(8))
        self.head = nn.Linear(8, 8)

    def forward(self, inputs):
        return self.head(inputs + self.gate * (inputs - inputs.mean(0)) / (inputs.std(0, correction=0) + 1e-3))


def test_coupling_behind_a_gate_that_starts_at_zero_is_found():
    with pytest.raises(PrivacyError, match="depends on the other records"):
        probe(TinyTask(model=with_layer(GatedBatchStatistics())))


class DividesByLargeBatches(TinyTask):
    def loss(self, model, batch):
        losses = functional.cross_entropy(model(batch["inputs"]), batch["targets"], reduction="none")
        return losses / max(1, len(losses) // 8)


def test_coupling_that_begins_with_the_size_of_the_batch_is_found():
    with pytest.raises(PrivacyError, match="in a batch of 256"):
        probe(DividesByLargeBatches())


class Remembers(nn.Module):
    """Keeps what it saw in training, and uses it in evaluation."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(8), persistent=False)

    def forward(self, inputs):
        if self.training:
            self.seen += inputs.detach().sum(0)
            return inputs
        return inputs + self.seen


def test_a_layer_that_remembers_training_rows_is_refused():
    with pytest.raises(PrivacyError, match="changes its own parameters or buffers"):
        probe(TinyTask(model=with_layer(Remembers())))


class KeepsRows(nn.Module):
    """Adds rows to a buffer that travels, and to one that does not, once it is no longer watched."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 2)
        self.register_buffer("kept", torch.zeros(4))
        self.register_buffer("aside", torch.zeros(4), persistent=False)
        self.calm = True

    def forward(self, inputs):
        if self.training and not self.calm:
            self.kept += inputs.detach().sum(0)
            self.aside += inputs.detach().sum(0)
        return self.head(inputs)


def test_what_a_forward_pass_keeps_of_rows_is_not_released():
    local = build_local(build_private_plan(), task=TinyTask(model=KeepsRows))
    local.model.calm = False
    client = build_client().to(dtype=local.dtype, device=local.device)
    update = train_locally(local, client, build_request(local.parameters.clone()))
    released = dict(local.parameters.layout.views(update.values["update"]))
    assert bool((released["kept"] == 0).all())
    assert bool((released["head.weight"] != 0).all())
    assert bool((local.model.aside == 0).all())


class NoSlope(TinyTask):
    def loss(self, model, batch):
        return super().loss(model, batch) * 0.0


def test_a_loss_without_a_gradient_is_no_evidence():
    with pytest.raises(PrivacyError, match="no gradient"):
        probe(NoSlope())


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
    plan = build_plan(federation={"rounds": 20})
    assert simulate(TinyTask(model=with_layer(nn.BatchNorm1d(8))), plan).metrics["accuracy"] > 0.7


class BreaksForOneRow(TinyTask):
    """No finite gradient for the rows beyond a value."""

    def loss(self, model, batch):
        losses = functional.cross_entropy(model(batch["inputs"]), batch["targets"], reduction="none")
        return losses * torch.where(batch["inputs"][:, 0] > 2.0, torch.inf, 1.0).to(losses.dtype)


def test_a_row_without_a_finite_gradient_does_not_fail_the_probe():
    task = BreaksForOneRow()
    assert bool((task.load_data(None).columns["inputs"][:, 0] > 2.0).any())
    probe(task)
