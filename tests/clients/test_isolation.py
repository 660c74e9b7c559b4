"""No record reaches the gradient of another: by proof, by construction, or said to be measured only."""

import random

import pytest
import torch
from torch import nn
from torch.nn import functional

from fedcore.errors import PrivacyError
from fedcore.messages import EvaluateRequest, TrainRequest
from fedcore.privacy.isolation import Level
from fedcore.tasks.registry import load_task
from fedcore_clients.training.dp.probe import isolation_of, probe_isolation
from fedcore_clients.training.dp.rowwise import RowwiseTask
from fedcore_clients.training.evaluation import evaluate_locally
from fedcore_clients.training.local_model import Client
from fedcore_clients.training.train import train_locally
from fedcore_simulations import simulate
from fedcore_simulations.privacy_audit.record_level import RecordLevelSubject
from tests.builders import TinyTask, build_local, build_plan, build_private_plan

_ROWS = 300
_CLIP_NORM = 0.05


def losses_of(model, batch):
    return functional.cross_entropy(model(batch["inputs"]), batch["targets"], reduction="none")


class Plain(TinyTask):
    def build_model(self):
        return nn.Linear(4, 2)


class HardExamples(Plain):
    """In a large batch only rows count that are nearly as large as the largest."""

    def loss(self, model, batch):
        losses = losses_of(model, batch)
        if len(losses) > 256:
            size = batch["inputs"].abs().sum(1)
            losses = losses * (size >= 0.5 * size.max())
        return losses


class MixesSometimes(Plain):
    """Mixup in one step of twenty."""

    def __init__(self):
        super().__init__()
        self.chance = random.Random(5)

    def loss(self, model, batch):
        inputs, targets = batch["inputs"], batch["targets"]
        if len(inputs) > 256 and self.chance.random() < 0.05:
            order = torch.arange(len(inputs)).roll(1)
            inputs = 0.5 * inputs + 0.5 * inputs[order] * (1 + inputs.abs().max())
        return losses_of(model, {"inputs": inputs, "targets": targets})


class UsesStateLate(Plain):
    """Keeps the largest rows it saw, out of sight, and uses them after 20 calls."""

    def __init__(self):
        super().__init__()
        kept = []

        def scale(inputs):
            kept.append(inputs.detach().abs().max())
            return 0.001 * torch.stack(kept).max() if len(kept) > 20 else 1.0

        self.scale = scale

    def loss(self, model, batch):
        return losses_of(model, batch) * self.scale(batch["inputs"])


class RescalesWhereLarge(Plain):
    """A batch is rescaled, but only when its largest number is above a value."""

    def loss(self, model, batch):
        inputs = batch["inputs"]
        if inputs.abs().max() > 30.0:
            inputs = inputs / inputs.abs().max()
        return losses_of(model, {"inputs": inputs, "targets": batch["targets"]})


class RescalesByTensor(Plain):
    """The same, in operations on tensors."""

    def loss(self, model, batch):
        largest = batch["inputs"].abs().max()
        inputs = torch.where(largest > 30.0, batch["inputs"] / largest, batch["inputs"])
        return losses_of(model, {"inputs": inputs, "targets": batch["targets"]})


def private(isolation="auto", **privacy):
    settings = {"sampling_rate": 1.0, "nominal_batch": 1.0, "steps_per_round": 1, "clip_norm": _CLIP_NORM}
    return build_private_plan(
        privacy=settings | {"isolation": isolation} | privacy,
        training={"precision": "float64", "learning_rate": 1.0, "max_physical_batch": 4096},
    )


def data(*, first=40.0):
    rows = TinyTask(rows=_ROWS).load_data(None)
    rows.columns["inputs"][0] = first  # one record that stands out
    return rows


def decided(task, plan):
    return isolation_of(task, task.build_model(), data(), plan, torch.device("cpu"))


def contributions(task_type, isolation, rounds=25):
    """By how many clip norms one record moves the released sum, in each of some rounds of `train_locally`."""
    updates = []
    for left_out in (False, True):
        rows = data().select(torch.arange(int(left_out), _ROWS))
        local = build_local(private(isolation), task=task_type())
        client = Client(name="c", training=rows, held_out=None).to(dtype=local.dtype, device=local.device)
        start = local.parameters.clone()
        updates.append(
            [
                train_locally(
                    local, client, TrainRequest(round=number, attempt=0, cohort=("c",), parameters=start)
                ).values["update"]
                for number in range(1, rounds + 1)
            ]
        )
    return [float((with_it - without).norm()) / _CLIP_NORM for with_it, without in zip(*updates, strict=True)]


@pytest.mark.parametrize("task", [HardExamples, MixesSometimes, UsesStateLate, RescalesByTensor])
def test_a_record_moves_a_sum_of_isolated_records_by_at_most_the_clip_norm(task):
    assert decided(task(), private()).level is Level.ISOLATED
    assert max(contributions(task, "auto")) <= 1.0 + 1e-9


@pytest.mark.parametrize("task", [HardExamples, MixesSometimes, UsesStateLate, RescalesByTensor])
def test_without_isolation_the_same_losses_would_break_the_bound(task):
    assert max(contributions(task, "probed")) > 1.3


@pytest.mark.parametrize("task", [RescalesWhereLarge])
def test_a_loss_that_branches_on_rows_is_said_to_be_probed_only(task):
    found = decided(task(), private())
    assert found.level is Level.PROBED
    assert "cannot be run on a row alone" in found.why
    with pytest.raises(PrivacyError, match=r'privacy\.isolation = "isolated" is impossible for this task and model'):
        decided(task(), private("isolated"))
    with pytest.raises(PrivacyError, match="is impossible"):
        contributions(task, "isolated", rounds=1)


class Remembering(Plain):
    """Averages what it saw last into the next loss, out of sight."""

    def __init__(self):
        super().__init__()
        kept = [torch.zeros(4, dtype=torch.float64)]

        def last(inputs):
            kept.append(inputs.detach().mean(0))
            return kept[-2]

        self.last = last

    def loss(self, model, batch):
        return losses_of(model, batch) + (model(self.last(batch["inputs"]).to(batch["inputs"])[None])).sum()


def test_a_loss_that_uses_what_it_saw_before_is_refused():
    with pytest.raises(PrivacyError, match=r"depends on the other records|other things once they have seen rows"):
        probe_isolation(Remembering(), Remembering().build_model(), data())


class CallsAreCounted(Plain):
    def __init__(self):
        super().__init__()
        self.calls = [0]

    def loss(self, model, batch):
        self.calls[0] += 1
        return losses_of(model, batch) / self.calls[0]


def test_a_loss_that_is_another_at_each_call_is_not_isolated():
    found = decided(CallsAreCounted(), private())
    assert (found.level, "not repeatable" in found.why) == (Level.PROBED, True)


class Reads(Plain):
    """Reads the values of rows in a way that no recording may miss."""

    def __init__(self, read):
        super().__init__()
        self.read = read

    def loss(self, model, batch):
        return losses_of(model, batch) * self.read(batch["inputs"])


class Memory(nn.Module):
    """Writes rows into a buffer."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.register_buffer("memory", torch.zeros(4), persistent=False)

    def forward(self, inputs):
        self.memory.copy_(inputs.detach()[0])
        return self.layer(inputs)


@pytest.mark.parametrize(
    "read",
    [
        lambda inputs: float(inputs.sum()),
        lambda inputs: 2.0 if inputs.sum() > 0 else 1.0,
        lambda inputs: float(inputs.detach().numpy().sum()),
        lambda inputs: sum(inputs.detach().tolist()[0]),
        lambda inputs: inputs[inputs > 0].sum(),
        lambda inputs: torch.nonzero(inputs).numel(),
        lambda inputs: torch.unique(inputs).numel(),
    ],
)
def test_whatever_reads_the_values_of_rows_is_not_isolated(read):
    task = Reads(read)
    assert decided(task, private()).level is Level.PROBED


def test_a_model_that_keeps_rows_in_a_buffer_is_not_isolated():
    task = TinyTask(model=Memory)
    assert decided(task, private()).level is Level.PROBED


class Own(Plain):
    """A loss of one's own with every kind of chance in it."""

    def build_model(self):
        return Noisy()

    def loss(self, model, batch):
        return losses_of(model, batch)


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2)
        self.dropout = nn.Dropout(0.5)

    def forward(self, inputs):
        hidden = self.dropout(torch.tanh(self.norm(self.first(inputs))))
        hidden = functional.dropout(hidden, 0.3, self.training)
        return self.last(hidden + 0.1 * torch.randn_like(hidden))


def test_a_record_may_draw_random_numbers_of_its_own():
    task = Own()
    assert probe_isolation(task, task.build_model(), data(), private()).level is Level.ISOLATED
    assert probe_isolation(task, task.build_model(), data(), private("probed")).level is Level.PROBED


class Autoencoder(Plain):
    """A variational autoencoder (Kingma and Welling 2014, arXiv 1312.6114), with one of two ways to draw."""

    labels = ()

    def __init__(self, draw):
        super().__init__()
        self.draw = draw

    def build_model(self):
        return nn.ModuleDict({"encode": nn.Linear(4, 4), "decode": nn.Linear(2, 4)})

    def loss(self, model, batch):
        mean, spread = model["encode"](batch["inputs"]).chunk(2, dim=1)
        hidden = self.draw(mean, spread.exp())
        kept = (model["decode"](hidden) - batch["inputs"]).square().sum(1)
        return kept + 0.5 * (spread.exp().square() + mean.square() - 1 - 2 * spread).sum(1)


@pytest.mark.parametrize(
    ("draw", "level"),
    [
        (lambda mean, spread: mean + spread * torch.randn_like(spread), Level.ISOLATED),
        (lambda mean, spread: torch.distributions.Normal(mean, spread).rsample(), Level.PROBED),
    ],
)
def test_a_variational_autoencoder_is_accepted(draw, level):
    task = Autoencoder(draw)
    assert probe_isolation(task, task.build_model(), TinyTask().load_data(None), private()).level is level


class Seeding(Own):
    def loss(self, model, batch):
        torch.manual_seed(0)
        return losses_of(model, batch)


class DrawsFromItsOwn(Plain):
    def __init__(self):
        super().__init__()
        self.chance = torch.Generator().manual_seed(0)

    def loss(self, model, batch):
        inputs = batch["inputs"]
        return losses_of(model, {**batch, "inputs": inputs + torch.randn(inputs.shape, generator=self.chance)})


@pytest.mark.parametrize(("task", "reason"), [(Seeding, "seed torch's generator"), (DrawsFromItsOwn, "depends on")])
@pytest.mark.parametrize("isolation", ["auto", "probed"])
def test_random_numbers_by_a_records_place_from_a_seed_that_others_know_are_refused(task, reason, isolation):
    with pytest.raises(PrivacyError, match=reason):
        probe_isolation(task(), task().build_model(), data(), private(isolation))
    if task is DrawsFromItsOwn:
        assert "use their own random generator" in decided(task(), private()).why


class Halved(Plain):
    def loss(self, model, batch):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return losses_of(model, batch).to(batch["inputs"].dtype)


def test_a_pass_in_half_precision_is_not_isolated():
    plan = private().updated(training={"precision": "float32"})
    assert "half precision" in decided(Halved(), plan).why


def opaque(name, *, mapped):
    """An operator of somebody's own, whose code is given whatever a batch holds."""

    @torch.library.custom_op(f"tests::{name}", mutates_args=())
    def operator(values: torch.Tensor) -> torch.Tensor:
        return torch.where(values.max() > 30.0, -values, values)

    operator.register_fake(torch.empty_like)
    operator.register_autograd(lambda _, gradient: gradient)
    if mapped:
        operator.register_vmap(lambda _, dims, values: (operator(values), dims[0]))
    return operator


OPAQUE = {mapped: opaque(f"opaque_{mapped}", mapped=mapped) for mapped in (False, True)}


class CallsItsOwnOperator(Plain):
    def __init__(self, *, mapped):
        super().__init__()
        self.operator = OPAQUE[mapped]

    def loss(self, model, batch):
        return losses_of(model, {**batch, "inputs": self.operator(batch["inputs"])})


@pytest.mark.parametrize("mapped", [False, True])
def test_an_operator_whose_code_would_be_given_rows_is_not_isolated(mapped):
    task = CallsItsOwnOperator(mapped=mapped)
    assert "is not one of torch's own operations" in decided(task, private()).why
    with pytest.raises(PrivacyError, match="is impossible"):
        decided(task, private("isolated"))


def test_each_isolated_record_draws_anew():
    rowwise = RowwiseTask(Own(), model := Own().build_model().train())
    same = {"inputs": torch.ones(6, 4), "targets": torch.zeros(6, dtype=torch.int64)}
    gradients = torch.cat([each.flatten(1) for each in rowwise.gradients(same, None)], 1)
    assert len({tuple(row.tolist()) for row in gradients}) == 6
    assert model.training


def test_neither_weights_nor_rows_decide_how_records_are_kept_apart():
    task = Own()
    model = task.build_model()
    levels = set()
    for weights in (1.0, float("nan")):
        for inputs in (0.0, float("nan")):
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.fill_(weights)
            rows = {"inputs": torch.full((3, 4), inputs), "targets": torch.zeros(3, dtype=torch.int64)}
            levels.add(RowwiseTask(task, model, evaluates=True).isolation(rows))
    assert len(levels) == 1


def test_no_code_of_the_task_is_given_a_row_where_records_are_isolated():
    seen = []

    class Watching(Own):
        def loss(self, model, batch):
            seen.append(batch["inputs"].detach())
            return losses_of(model, batch)

        def predict(self, model, batch):
            seen.append(batch["inputs"].detach())
            return torch.softmax(model(batch["inputs"]), 1)

    local = build_local(private(evaluation_noise_multiplier=1.0), task=Watching())
    client = Client(name="c", training=data(), held_out=data()).to(dtype=local.dtype, device=local.device)
    start = local.parameters.clone()
    for number in range(1, 4):
        evaluate_locally(local, client, EvaluateRequest(round=number, attempt=0, cohort=("c",), parameters=start))
        train_locally(local, client, TrainRequest(round=number, attempt=0, cohort=("c",), parameters=start))
    assert 0 < len(seen) < 20  # recording; no more than that in six passes over 300 rows
    assert all(rows.numel() == 4 for rows in seen)


class BoundToItsBatch(Plain):
    """Evaluates a row by the other rows: apart from each other in training only."""

    def predict(self, model, batch):
        logits = model(batch["inputs"])
        return torch.softmax(logits - logits.mean(0), 1)

    def loss(self, model, batch):
        losses = losses_of(model, batch)
        return losses if model.training else losses - batch["inputs"].abs().max()


def report(isolation, left_out):
    plan = private(isolation, evaluation_noise_multiplier=1.0)
    local = build_local(plan, task=BoundToItsBatch())
    rows = data().select(torch.arange(int(left_out), _ROWS))
    client = Client(name="c", training=data(), held_out=rows).to(dtype=local.dtype, device=local.device)
    request = EvaluateRequest(round=1, attempt=0, cohort=("c",), parameters=local.parameters.clone())
    return evaluate_locally(local, client, request).metrics.sums


@pytest.mark.parametrize(("isolation", "holds"), [("auto", True), ("probed", False)])
def test_a_held_out_record_moves_a_noised_evaluation_by_its_bound_only(isolation, holds):
    """The noise is the same for both; a row adds at most 1 right prediction, and the bound of losses, 5."""
    with_it, without = report(isolation, left_out=False), report(isolation, left_out=True)
    within = abs(with_it["accuracy"] - without["accuracy"]) <= 1 and abs(with_it["loss"] - without["loss"]) <= 5.01
    assert within is holds


def test_the_probe_finds_rows_that_bear_on_each_other_in_evaluation():
    plan = private("probed", evaluation_noise_multiplier=1.0)
    with pytest.raises(PrivacyError, match="depends on the other records"):
        probe_isolation(BoundToItsBatch(), BoundToItsBatch().build_model(), data(), plan)


def test_isolated_gradients_are_those_of_one_pass():
    task, factors = Plain(), torch.rand(20, dtype=torch.float64)
    model = task.build_model().double()
    batch = data().to(dtype=torch.float64, device=torch.device("cpu")).batch(slice(0, 20))
    gradients = RowwiseTask(task, model, wanted="isolated").gradients(batch, factors)
    for row in range(20):
        one = {name: column[row : row + 1] for name, column in batch.items()}
        expected = torch.autograd.grad(task.loss(model, one).sum() * factors[row], list(model.parameters()))
        assert all(torch.allclose(g[row], e, atol=1e-12) for g, e in zip(gradients, expected, strict=True))


class Standardises(Plain):
    """Has a constant, which the code that measures overwrites by what it sees."""

    def __init__(self):
        super().__init__()
        self.shift = torch.zeros(4, dtype=torch.float64)

    def loss(self, model, batch):
        return losses_of(model, {**batch, "inputs": batch["inputs"] - self.shift})


def test_a_constant_that_is_overwritten_later_is_recorded_as_it_was():
    task, model = Standardises(), Standardises().build_model().double()
    batch = data().to(dtype=torch.float64, device=torch.device("cpu")).batch(slice(0, 5))
    rowwise = RowwiseTask(task, model)
    before = rowwise.gradients(batch, None)
    task.shift += 100.0
    assert all(torch.equal(one, other) for one, other in zip(before, rowwise.gradients(batch, None), strict=True))


class Teacher(Plain):
    """Compares with a model of its own, whose weights are constants too."""

    def __init__(self):
        super().__init__()
        self.teacher = nn.Linear(4, 2).double()

    def loss(self, model, batch):
        return (model(batch["inputs"]) - self.teacher(batch["inputs"])).square().sum(1)


def test_a_second_model_in_the_loss_is_a_constant():
    task, model = Teacher(), Teacher().build_model().double()
    batch = data().to(dtype=torch.float64, device=torch.device("cpu")).batch(slice(0, 5))
    weight, _ = RowwiseTask(task, model).gradients(batch, None)
    one = {name: column[3:4] for name, column in batch.items()}
    expected, _ = torch.autograd.grad(task.loss(model, one).sum(), list(model.parameters()))
    assert torch.allclose(weight[3], expected, atol=1e-12)
    assert probe_isolation(Teacher(), Plain().build_model(), data()).level is Level.ISOLATED


def stated(task, **privacy):
    settings = {"unit": "record", "noise_multiplier": 1.0, "sampling_rate": 0.5, "trials": 1} | privacy
    plan = build_plan(privacy=settings, federation={"evaluate_every": 3}, aggregation={"rule": "uniform"})
    result = simulate(task, plan)
    return result.privacy, result.privacy["verification"]["linter_warnings"]


@pytest.mark.parametrize("isolation", ["auto", "isolated", "probed"])
def test_predicted_numbers_are_kept_apart_too(isolation):
    plan = private(isolation, evaluation_noise_multiplier=1.0)
    task = load_task(plan.updated(task={"name": "diabetes-progression"}))
    model, rows = task.build_model(), task.load_data(None)
    found = probe_isolation(task, model, rows, plan).level
    assert found is (Level.ISOLATED if isolation == "isolated" else Level.PROVEN)
    rowwise, batch = RowwiseTask.from_plan(task, model.eval(), plan), rows.batch(slice(0, 9))
    assert torch.allclose(rowwise.predict(batch), task.predict(model, batch), rtol=1e-5)
    assert torch.allclose(rowwise.loss(batch), task.loss(model, batch), rtol=1e-5)


def test_the_statement_of_a_run_says_which_of_the_three_levels_holds():
    proven, no_warnings = stated(TinyTask())
    assert (proven["isolation"]["name"], proven["isolation"]["why"], no_warnings) == ("proven", "", [])
    isolated, no_warnings = stated(Own())
    assert (isolated["isolation"]["name"], no_warnings) == ("isolated", [])
    assert "Own has a loss or a prediction of its own" in isolated["isolation"]["why"]
    probed, warnings = stated(RescalesWhereLarge())
    assert probed["isolation"]["name"] == "probed"
    assert [line.partition(":")[0] for line in warnings] == ["probed-isolation"]
    assert "which was measured, not proven" in probed["plain_language"]
    assert "not proven" not in isolated["plain_language"]
    forced, _ = stated(TinyTask(), isolation="isolated")
    assert forced["isolation"]["name"] == "isolated"


def test_isolated_updates_do_not_depend_on_the_number_of_workers():
    plan = build_private_plan(federation={"clients": 3, "rounds": 2})
    one, two = (simulate(Own(), plan.updated(engine={"workers": workers})) for workers in (1, 2))
    assert one.summary["model_sha256"] == two.summary["model_sha256"]


@pytest.mark.parametrize(
    ("task", "way"), [(Own(), "isolated"), (TinyTask(), "probed"), (RescalesWhereLarge(), "probed")]
)
def test_an_audit_sends_its_canaries_the_way_that_the_records_of_a_run_go(task, way):
    subject = RecordLevelSubject(task, private(evaluation_noise_multiplier=1.0), task.load_data(None), num_canaries=4)
    assert subject._plan.privacy.isolation == way
    scores = subject.canary_run(torch.tensor([True, True, True, True])).scores
    assert len(scores) == 4
