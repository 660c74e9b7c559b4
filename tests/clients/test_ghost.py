"""Clipped sums from one forward and one backward pass, against one record at a time."""

import copy
import math

import pytest
import torch
from opacus.layers import DPGRU, DPLSTM, DPMultiheadAttention
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from fedcore.errors import PrivacyError
from fedcore.privacy.mechanisms import ROUNDING
from fedcore_clients.training.dp import ghost_shares
from fedcore_clients.training.dp.per_example import PerExampleGradients
from fedcore_clients.training.dp.probe import probe_isolation
from tests.builders import TinyTask

_CLIP_NORM = 0.2


class Apply(nn.Module):
    """A function between layers."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, inputs):
        return self.function(inputs)


class Pooled(nn.Sequential):
    """Layers over images or sequences, averaged into two logits by position; 4 numbers a record in."""

    def __init__(self, *layers, shape, width):
        super().__init__(
            nn.Unflatten(1, shape), *layers, nn.Flatten(2), Apply(lambda x: x.mean(2)), nn.Linear(width, 2)
        )


class Residual(nn.Module):
    """Adds in place, and applies activations in place."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, inputs):
        hidden = self.relu(self.first(inputs))
        out = self.second(hidden)
        out += hidden
        return self.head(self.relu(out))


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.square, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, inputs):
        return self.head(torch.tanh(self.square(torch.tanh(self.square(inputs)))))


class ConvolvesTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.kernel, self.norm, self.head = nn.Conv2d(1, 1, 2, padding=1), nn.GroupNorm(1, 1), nn.Linear(16, 2)

    def forward(self, inputs):
        images = self.norm(self.kernel(inputs.view(-1, 1, 2, 2)))
        return self.head(self.norm(self.kernel(images)).flatten(1))


class Tokens(nn.Module):
    """Numbers to tokens of which several are equal."""

    def __init__(self, *layers, length=6, width=3):
        super().__init__()
        self.length, self.table = length, nn.Embedding(5, width)
        self.layers, self.head = nn.Sequential(*layers), nn.Linear(width, 2)

    def forward(self, inputs):
        tokens = (inputs.detach().nan_to_num().abs() * 10).long().repeat(1, self.length) % 5
        return self.head(self.layers(self.table(tokens)).mean(1)) + inputs.sum(1, keepdim=True) * 0


class Recurrent(nn.Module):
    def __init__(self, cells):
        super().__init__()
        self.cells, self.head = cells(2, 5, batch_first=True), nn.Linear(5, 2)

    def forward(self, inputs):
        return self.head(self.cells(inputs.view(-1, 2, 2))[0][:, -1])


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.norm = DPMultiheadAttention(4, 2, batch_first=True), nn.LayerNorm(4)
        self.head = nn.Linear(4, 2)

    def forward(self, inputs):
        tokens = torch.stack([inputs, inputs.flip(1), inputs * 2], dim=1)
        return self.head(self.norm(self.attention(tokens, tokens, tokens)[0]).mean(1))


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.head, self.spare = nn.Linear(4, 2), nn.Linear(3, 3)

    def forward(self, inputs):
        return self.head(inputs)


def frozen(*names):
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in names)
    return model


def wide(positions, features):
    """A linear layer over positions, so wide that inner products are smaller than its gradient."""
    spread = Apply(lambda x: x.repeat(1, positions).view(-1, positions, 4) * torch.arange(1, 1 + positions)[:, None])
    return nn.Sequential(
        spread,
        nn.Linear(4, features),
        nn.Tanh(),
        nn.Linear(features, features),
        Apply(lambda x: x.mean(1)),
        nn.Linear(features, 2),
    )


COVERED = {
    "dense": lambda: nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 2, bias=False)),
    "sequence, written": lambda: wide(5, 3),
    "sequence, inner products": lambda: wide(2, 40),
    "convolution": lambda: Pooled(nn.Conv2d(1, 3, 2, padding=1), nn.Conv2d(3, 4, (2, 1)), shape=(1, 2, 2), width=4),
    "strides": lambda: Pooled(nn.Conv2d(1, 4, 2, stride=(2, 1), padding=(2, 1), bias=False), shape=(1, 2, 2), width=4),
    "dilation": lambda: Pooled(nn.Conv2d(1, 4, 2, dilation=(1, 2), padding=(1, 2)), shape=(1, 2, 2), width=4),
    "groups": lambda: Pooled(nn.Conv2d(2, 6, (1, 2), groups=2, padding=(0, 1)), shape=(2, 1, 2), width=6),
    "depthwise": lambda: Pooled(nn.Conv1d(2, 2, 2, groups=2), nn.Conv1d(2, 4, 1), shape=(2, 2), width=4),
    "one dimension": lambda: Pooled(nn.Conv1d(1, 3, 3, padding=2, stride=2, dilation=2), shape=(1, 4), width=3),
    "wide convolution": lambda: Pooled(nn.Conv1d(1, 60, 2), nn.Tanh(), nn.Conv1d(60, 60, 3), shape=(1, 4), width=60),
    "group norm": lambda: Pooled(nn.Conv2d(1, 4, 1), nn.GroupNorm(2, 4), shape=(1, 2, 2), width=4),
    "layer norm": lambda: nn.Sequential(
        nn.LayerNorm(4), nn.Unflatten(1, (2, 2)), nn.LayerNorm((2, 2)), nn.Flatten(), nn.Linear(4, 2)
    ),
    "norms of sequences": lambda: Tokens(nn.LayerNorm(3), nn.Linear(3, 3), nn.RMSNorm(3)),
    "embedding": Tokens,
    "in place": Residual,
    "called twice": Twice,
    "convolution called twice": ConvolvesTwice,
    "lstm": lambda: Recurrent(DPLSTM),
    "gru": lambda: Recurrent(DPGRU),
    "attention": Attention,
    "unused layer": Unused,
    "frozen layer": lambda: frozen("2.weight", "2.bias"),
    "frozen weight": lambda: frozen("2.weight", "0.bias"),
}  # fmt: skip


def tied():
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Linear(4, 2))
    model[2].weight = model[0].weight
    return model


class Scaled(nn.Linear):
    """A linear layer whose forward pass is its own."""

    def forward(self, inputs):
        return super().forward(inputs) * 2


NOT_COVERED = {
    "tied": tied,
    "own forward": lambda: nn.Sequential(Scaled(4, 4), nn.Linear(4, 2)),
    "padding by name": lambda: Pooled(nn.Conv1d(1, 3, 3, padding="same"), shape=(1, 4), width=3),
    "transposed": lambda: nn.Sequential(nn.Linear(4, 2), nn.PReLU()),
}


def batch(rows=9, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(rows, 4, generator=generator, dtype=torch.float64).to(dtype)
    return {"inputs": inputs, "targets": torch.randint(0, 2, (rows,), generator=generator)}


def build(kind, dtype=torch.float64, *, max_physical_batch=100):
    torch.manual_seed(1)
    model = ({**COVERED, **NOT_COVERED}[kind] if isinstance(kind, str) else kind)().to(dtype).train()
    task, plain = TinyTask(model=lambda: model), copy.deepcopy(model)
    return task, plain, PerExampleGradients(task, model, max_physical_batch=max_physical_batch)


def one_at_a_time(task, plain, batch, clip_norm=_CLIP_NORM):
    trained = [p for p in plain.parameters() if p.requires_grad]
    total = torch.zeros(sum(p.numel() for p in trained), dtype=torch.float64)
    for row in range(len(batch["targets"])):
        loss = task.loss(plain, {name: column[row : row + 1] for name, column in batch.items()}).sum()
        gradients = torch.autograd.grad(loss, trained, allow_unused=True, materialize_grads=True)
        gradient = torch.cat([g.flatten() for g in gradients]).double()
        total += gradient * min(1.0, clip_norm / max(float(gradient.norm()), 1e-300))
    return total


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("kind", COVERED)
def test_the_clipped_sum_is_that_of_one_record_at_a_time(kind, dtype, tolerance):
    task, model, per_example = build(kind, dtype)
    assert per_example.one_pass
    rows = batch(dtype=dtype)
    expected = one_at_a_time(task, model, rows)
    assert float((per_example.clipped_sum(rows, _CLIP_NORM) - expected).norm()) <= tolerance * float(expected.norm())
    assert per_example.one_pass


@pytest.mark.parametrize("kind", NOT_COVERED)
def test_what_no_rule_covers_goes_by_hooks(kind):
    task, model, per_example = build(kind)
    assert not per_example.one_pass
    rows = batch()
    expected = one_at_a_time(task, model, rows)
    assert torch.allclose(per_example.clipped_sum(rows, _CLIP_NORM), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", ["dense", "convolution", "lstm"])
def test_batches_are_worked_on_in_parts(kind):
    task, model, per_example = build(kind, max_physical_batch=4)
    largest = []
    per_example._model.register_forward_pre_hook(lambda module, args: largest.append(len(args[0])))
    together = per_example.clipped_sum(batch(), _CLIP_NORM)
    assert largest == [4, 4, 1]
    assert torch.allclose(together, one_at_a_time(task, model, batch()), atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", COVERED)
def test_an_empty_batch_sums_to_zeros(kind):
    _, model, per_example = build(kind)
    total = per_example.clipped_sum(batch(rows=0), _CLIP_NORM)
    assert torch.equal(total, torch.zeros(sum(p.numel() for p in model.parameters() if p.requires_grad)).double())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("kind", COVERED)
def test_a_record_that_is_not_finite_adds_nothing(kind, bad):
    _, _, per_example = build(kind)
    rows = batch()
    rows["inputs"][3] = bad
    rest = {name: column[[0, 1, 2, 4, 5, 6, 7, 8]] for name, column in rows.items()}
    with_it, without = (per_example.clipped_sum(part, _CLIP_NORM) for part in (rows, rest))
    assert bool(torch.isfinite(with_it).all())
    assert torch.allclose(with_it, without, atol=1e-14, rtol=0)
    alone = {name: column[3:4] for name, column in rows.items()}
    assert float(per_example.clipped_sum(alone, _CLIP_NORM).abs().max()) == 0.0


class Steep(TinyTask):
    """Gradients beyond what float32 can hold, from inputs and slopes that it can."""

    def loss(self, model, batch):
        return model(batch["inputs"]).sum(1) * 1e25


def test_a_gradient_too_large_for_float32_is_clipped_to_the_clip_norm():
    model = nn.Linear(4, 2)
    per_example = PerExampleGradients(Steep(), model, max_physical_batch=10)
    rows = {"inputs": torch.full((2, 4), 1e25), "targets": torch.zeros(2).long()}
    assert float(per_example.clipped_sum(rows, 1.0).norm()) == pytest.approx(2.0, rel=1e-6)


class Transposed(nn.Module):
    """Records in the second dimension of a layer's input."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(2, 3), nn.Linear(6, 2)

    def forward(self, inputs):
        hidden = self.body(inputs.view(-1, 2, 2).transpose(0, 1))
        return self.head(hidden.transpose(0, 1).flatten(1))


def test_a_layer_that_does_not_see_records_first_is_left_to_the_hooks_which_refuse_it():
    _, _, per_example = build(Transposed)
    assert per_example.one_pass
    with pytest.raises(PrivacyError, match="mixes records"):
        per_example.norms(batch())
    assert not per_example.one_pass


class Packed(nn.Module):
    """A recurrent layer over sequences of different lengths."""

    def __init__(self):
        super().__init__()
        self.cells, self.head = DPLSTM(1, 3, batch_first=True), nn.Linear(3, 2)

    def forward(self, inputs):
        lengths = torch.arange(len(inputs)) % 4 + 1
        packed = nn.utils.rnn.pack_padded_sequence(inputs.unsqueeze(2), lengths, batch_first=True, enforce_sorted=False)
        return self.head(self.cells(packed)[1][0][-1])


def test_packed_sequences_change_to_the_hooks():
    _, _, per_example = build(Packed, torch.float32)
    assert per_example.one_pass
    total = per_example.clipped_sum(batch(dtype=torch.float32), _CLIP_NORM)
    assert 0.0 < float(total.norm()) <= 9 * _CLIP_NORM
    assert not per_example.one_pass


class LargestTensor(TorchDispatchMode):
    """The number of elements of the largest tensor that is made."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.untyped_storage().nbytes() // tensor.element_size())
        return made


@pytest.mark.parametrize(
    "model",
    [
        lambda: nn.Sequential(nn.Linear(4, 400), nn.Tanh(), nn.Linear(400, 400), nn.Linear(400, 2)),
        lambda: wide(3, 300),
        lambda: Pooled(nn.Conv1d(1, 200, 2), nn.Tanh(), nn.Conv1d(200, 200, 2), shape=(1, 4), width=200),
    ],
)
def test_nothing_of_batch_times_parameters_is_made(model):
    _, network, per_example = build(model)
    parameters = sum(p.numel() for p in network.parameters())
    with LargestTensor() as largest:
        per_example.clipped_sum(batch(rows=64), _CLIP_NORM)
    assert parameters <= largest.elements <= max(2 * parameters, 2 * ghost_shares._PIECE)


def test_the_hooks_note_nothing_outside_of_a_private_step_and_change_no_names():
    _, _, per_example = build("dense")
    model = per_example._model
    names = list(model.state_dict())
    model.eval()(batch()["inputs"])
    assert per_example._ghost._notes is None
    assert names == ["0.weight", "0.bias", "2.weight"]


@pytest.mark.parametrize(
    ("where", "fault"),
    [
        ("_norms", lambda norms: lambda vectors: norms(vectors) * 0.5),
        ("_weighted", lambda weighted: lambda rows, factors: weighted(rows, factors).roll(1, 0)),
    ],
)
def test_the_probe_finds_a_fault_in_the_way_that_training_takes(monkeypatch, where, fault):
    task = TinyTask()
    probe_isolation(task, task.build_model(), task.load_data(None))
    monkeypatch.setattr(ghost_shares, where, fault(getattr(ghost_shares, where)))
    with pytest.raises(PrivacyError, match="no right rule"):
        probe_isolation(task, task.build_model(), task.load_data(None))


class Weighed(nn.Module):
    """Each position's output times a weight that the record brings along, so that its terms can cancel."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, inputs, weights):
        return (self.layer(inputs).sum(-1) * weights).sum(1)


class WeighedTask(TinyTask):
    def loss(self, model, batch):
        return model(batch["inputs"], batch["weights"])


def cancelling(magnitude, small, times):
    """Weights whose exact sum is zero, and whose sum in float32 is not: what is small is lost beside what is large."""
    half = [magnitude, *[small] * times]
    return torch.tensor([[*half, *[-each for each in half]]])


def looked_up(magnitude):
    unit = 2.0 ** (math.floor(math.log2(magnitude)) - 23)
    weights = cancelling(magnitude, 0.51 * unit, 2000)
    return nn.Embedding(10, 4), torch.zeros(weights.shape, dtype=torch.int64), weights


def multiplied(magnitude):
    weights = cancelling(magnitude, 513 * magnitude / 1e10, 6)
    return nn.Linear(64, 64, bias=False), torch.ones(*weights.shape, 64), weights


@pytest.mark.parametrize(
    ("made", "magnitude"),
    [(looked_up, 1e4), (looked_up, 1e6), (multiplied, 1e6), (multiplied, 1e8), (multiplied, 1e10)],
)
def test_a_record_whose_terms_cancel_exceeds_the_clip_norm_no_more_than_the_noise_covers(made, magnitude):
    """The exact norm is next to zero; what is summed in float32 is longer than the clip norm by up to 1e5 times."""
    layer, inputs, weights = made(magnitude)
    gradients = PerExampleGradients(WeighedTask(), Weighed(layer), max_physical_batch=8)
    clipped = gradients.clipped_sum({"inputs": inputs, "weights": weights}, 1.0)
    assert gradients.one_pass
    assert float(clipped.to(torch.float64).norm()) <= 1.0 + ROUNDING
