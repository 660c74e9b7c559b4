"""Every rule finds the mistake that is planted for it, and finds nothing in a clean plan."""

import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from io import StringIO

import pytest
import torch
from rich.console import Console
from torch import nn
from torch.nn import functional

from fedcore import Examples
from fedcore.aggregation.contract import Encoding
from fedcore.algorithms.fedavg import FedAvg
from fedcore.audit.tables.groups import GroupTable
from fedcore.cli import main
from fedcore.errors import PrivacyError
from fedcore.method.exchange import Exchange
from fedcore.privacy import linter, mechanisms, noise
from fedcore.privacy.evaluation import EvaluationPrivacy
from fedcore.privacy.isolation import Isolation, Level
from fedcore.privacy.linter import ROW_RULES, RULES, Subject, lint, refuse, warnings_of
from fedcore_clients.agent.task_runner import TaskRunner
from fedcore_clients.training.dp.probe import probe_isolation
from fedcore_clients.training.local_model import Client
from fedcore_simulations import simulate
from fedcore_simulations.progress import RoundsDisplay
from tests.builders import Remembered, TinyTask, build_local, build_plan, build_private_plan

CLEAN = {"unit": "record", "noise_multiplier": 2.0, "nominal_batch": 10.0, "sampling_rate": 0.5, "trials": 1}
ONCE = {"evaluate_every": 3}
UNIFORM = {"rule": "uniform"}


def planned(*, federation=None, method=None, **privacy):
    kept = {key: value for key, value in (CLEAN | privacy).items() if value is not None}
    return build_plan(privacy=kept, federation=ONCE | (federation or {}), **({"aggregation": UNIFORM} | (method or {})))


def subject(*, layer=None, task=None, plan=None, **parts):
    layers = [nn.Linear(4, 8), *([layer] if layer is not None else []), nn.ReLU(), nn.Linear(8, 2)]
    task = task or TinyTask(model=lambda: nn.Sequential(*layers))
    return Subject(plan=plan or planned(), task=task, model=task.build_model(), **parts)


def measured(task):
    model, rows = task.build_model(), task.load_data(None)
    return Subject(
        plan=planned(), task=task, model=model, training=rows, probe=lambda: probe_isolation(task, model, rows)
    )


class Weighted(TinyTask):
    def loss(self, model, batch):
        weights = torch.tensor([0.1, 1.0])
        return functional.cross_entropy(model(batch["inputs"]), batch["targets"], weight=weights)


class Coupled(TinyTask):
    """Divides by what the batch weighs, in a way that no reading finds."""

    def loss(self, model, batch):
        losses = functional.cross_entropy(model(batch["inputs"]), batch["targets"], reduction="none")
        weights = torch.where(batch["targets"] == 0, 0.1, 1.0).to(losses.dtype)
        return losses * weights / weights.sum()


class Scheduled(TinyTask):
    def loss(self, model, batch):
        losses = functional.cross_entropy(model(batch["inputs"]), batch["targets"], reduction="none")
        model.lr_scheduler.step(losses.mean())
        return losses


class Printing(TinyTask):
    def loss(self, model, batch):
        losses = functional.cross_entropy(model(batch["inputs"]), batch["targets"], reduction="none")
        print(losses.mean())
        return losses


class Halved(TinyTask):
    def loss(self, model, batch):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return functional.cross_entropy(model(batch["inputs"]), batch["targets"], reduction="none")


class Counting(TinyTask):
    """Keeps a count of what it saw, plainly."""

    def loss(self, model, batch):
        self.seen = getattr(self, "seen", 0) + len(batch["targets"])
        return functional.cross_entropy(model(batch["inputs"]), batch["targets"], reduction="none") / self.seen


class Remembering(TinyTask):
    """The same, hidden in a closure."""

    def __init__(self):
        super().__init__()
        kept = []

        def remembered(rows):
            kept.append(rows)
            return len(kept)

        self.remembered = remembered

    def loss(self, model, batch):
        losses = functional.cross_entropy(model(batch["inputs"]), batch["targets"], reduction="none")
        return losses / self.remembered(len(losses))


class OverTheBatch(nn.Module):
    def forward(self, inputs):
        return functional.batch_norm(inputs, None, None, training=True)


class Reaching(nn.Module):
    """Batch normalisation under a name that no reading finds."""

    def forward(self, inputs):
        return getattr(functional, "batch_" + "norm")(inputs, None, None, training=True)


class Chancy(nn.Module):
    """A record draws numbers of its own, as in an autoencoder or a diffusion model."""

    def forward(self, inputs):
        return functional.dropout(inputs, 0.5, self.training) + torch.randn_like(inputs) * torch.rand(len(inputs), 1)


class Shuffling(nn.Module):
    """Draws which record each one meets."""

    def forward(self, inputs):
        return inputs + inputs[torch.randperm(len(inputs))]


class Peeking(Encoding):
    def encode(self, values, kept, context):
        return values + open("rows.csv").read(), {}, {}

    def decode(self, values, beside, declared):
        return values


def fixed_batches(num_examples, plan, randomness):
    return torch.randperm(num_examples)[: round(plan.sampling_rate * num_examples)]


def quiet_release(clipped, plan, randomness):
    return (clipped + 0.5 * plan.noise_std * randomness.normal(clipped.numel())) / plan.nominal_batch


def forgetful_release(clipped, plan, randomness):
    """Forgets the noise of one layer."""
    noise = randomness.normal(clipped.numel())
    noise[: len(noise) // 4] = 0.0
    return (clipped + plan.noise_std * noise) / plan.nominal_batch


def half_release(clipped, plan, randomness, correct=mechanisms.release):
    return correct(clipped, plan, randomness).half()


def loose_sum(gradients, clip_norm, correct=mechanisms.clipped_sum):
    return correct(gradients, 3.0 * clip_norm)


def naive_sum(gradients, clip_norm):
    flat = torch.cat([gradient.flatten(1) for gradient in gradients], 1)
    return (flat * (clip_norm / flat.norm(dim=1, keepdim=True).clamp(min=clip_norm))).sum(0)


class Seeded(noise.SecureRandomness):
    def normal(self, size, dtype=torch.float64):
        return torch.randn(size, dtype=dtype)


PLANTED: dict[str, list[Callable[[pytest.MonkeyPatch], Subject]]] = {
    "batch-norm": [
        lambda _: subject(layer=nn.BatchNorm1d(8)),
        lambda _: subject(layer=nn.BatchNorm1d(8, affine=False)),
        lambda _: subject(layer=nn.BatchNorm1d(8).requires_grad_(False).eval()),
        lambda _: subject(layer=nn.SyncBatchNorm(8)),
        lambda _: subject(layer=type("FrozenBatchNorm2d", (nn.Identity,), {})()),
    ],
    "running-statistics": [lambda _: subject(layer=nn.InstanceNorm1d(8, track_running_stats=True))],
    "unsupported-layer": [lambda _: subject(layer=nn.LSTM(8, 8)), lambda _: subject(layer=nn.MultiheadAttention(8, 2))],
    "renormalised-embedding": [lambda _: subject(layer=nn.Embedding(8, 8, max_norm=1.0))],
    "padding-index": [lambda _: subject(layer=nn.Embedding(8, 8, padding_idx=0))],
    "float-buffer": [lambda _: subject(layer=buffered())],
    "low-precision-model": [lambda _: subject(layer=nn.Linear(8, 8).half())],
    "coupled-loss": [lambda _: subject(task=Weighted())],
    "batch-statistics": [lambda _: subject(layer=OverTheBatch())],
    "kept-state": [lambda _: subject(task=Counting())],
    "data-dependent-schedule": [lambda _: subject(task=Scheduled())],
    "low-precision-pass": [lambda _: subject(task=Halved())],
    "released-metrics": [lambda _: subject(task=Printing())],
    "method-reads-data": [lambda _: subject(exchange=Exchange(algorithm=FedAvg(), encodings=(Peeking(),)))],
    "drowned-in-noise": [lambda _: subject(plan=for_clients(10))],
    "no-noise": [lambda _: subject(plan=planned(noise_multiplier=0.0))],
    "test-noise": [lambda _: subject(plan=planned(noise="test"))],
    "delta-too-large": [
        lambda _: subject(plan=planned(delta=0.01), largest_client=500),
        lambda _: subject(plan=planned(delta=0.05)),  # 20 records, by the divisor
    ],
    "delta-near-size": [lambda _: subject(plan=planned(delta=1e-3), largest_client=500)],
    "derived-normaliser": [lambda _: subject(plan=planned(nominal_batch=None))],
    "size-released": [lambda _: subject(plan=size_told())],
    "rounded-by-place": [lambda _: subject(plan=planned(relation="add-remove"))],
    "client-sampling": [lambda _: subject(plan=planned(federation={"cohort_size": 2}))],
    "uncharged-search": [
        lambda _: subject(plan=planned(trials=None)),
        lambda _: subject(plan=planned(trials=20)),
    ],
    "unnoised-evaluation": [lambda _: subject(plan=planned(federation={"evaluate_every": 1}))],
    "noise-in-every-bin": [lambda _: subject(plan=binned())],
    "own-method": [lambda _: subject(plan=planned(method={"algorithm": {"name": "my_algorithm:Mine"}}))],
    "wrong-sampler": [lambda patch: patched(patch, mechanisms, "poisson_batch", fixed_batches)],
    "noise-scale": [
        lambda patch: patched(patch, mechanisms, "release", quiet_release),
        lambda patch: patched(patch, mechanisms, "release", forgetful_release),
    ],
    "low-precision-noise": [lambda patch: patched(patch, mechanisms, "release", half_release)],
    "seeded-noise": [lambda patch: patched(patch, noise, "SecureRandomness", Seeded)],
    "clipping": [
        lambda patch: patched(patch, mechanisms, "clipped_sum", loose_sum),
        lambda patch: patched(patch, mechanisms, "clipped_sum", naive_sum),
    ],
    "remembers-rows": [lambda _: measured(Remembering())],
    "record-isolation": [lambda _: measured(Coupled())],
    "probed-isolation": [lambda _: replace(measured(TinyTask()), isolation=Isolation(level=Level.PROBED, why="so"))],
    "trained-rows-evaluated": [lambda _: twice()],
}
CASES = [(name, number) for name, planted in PLANTED.items() for number in range(len(planted))]


def for_clients(clients):
    """A plan under unit client, of 100 rounds with a noise multiplier of 100."""
    federation = {"clients": clients, "rounds": 100, "evaluate_every": 100}
    return planned(unit="client", noise_multiplier=100.0, nominal_batch=None, sampling_rate=None, federation=federation)


def binned(**sections):
    """A plan with noise on counts of 64 score bins."""
    federation = {"clients": 3, "rounds": 3, "evaluate_every": 3}
    sections = {"audit": {"sensitive": ["sex"], **sections.pop("audit", {})}, **sections}
    return build_plan(
        privacy=CLEAN | {"evaluation_noise_multiplier": 2.0},
        federation=federation,
        **({"aggregation": UNIFORM} | sections),
    )


def buffered():
    layer = nn.Identity()
    layer.register_buffer("average", torch.zeros(8))
    return layer


def size_told():
    """A plan that checks would not let be written."""
    plan = planned(relation="add-remove")
    return plan.model_copy(update={"aggregation": plan.aggregation.model_copy(update={"rule": "mean"})})


def patched(patch, module, name, planted):
    patch.setattr(module, name, planted)
    return subject()


def twice():
    rows = TinyTask().load_data(None)
    return Subject(plan=planned(), training=rows, held_out=rows.select(torch.arange(5)))


def clean():
    task = TinyTask()
    model, training = task.build_model(), task.load_data(None)
    held_out = TinyTask(rows=20, seed=7).load_data(None)
    return Subject(
        plan=planned(),
        task=task,
        model=model,
        largest_client=1000,
        training=training,
        held_out=held_out,
        probe=lambda: probe_isolation(task, model, training),
    )


@pytest.mark.parametrize(("bins", "times"), [(64, "5.7"), (8, "2.0"), (4, "1.4")])
def test_the_noise_that_bins_add_is_told_as_the_square_root_of_half_their_number(bins, times):
    found = lint(subject(plan=binned(audit={"score_bins": bins})))
    (told,) = (finding.where for finding in found if finding.rule.id == "noise-in-every-bin")
    assert told == f"audit.score-bins = {bins}, with {times} times the noise in every rate that 2 would have"


@pytest.mark.parametrize("bins", [2, 8])
def test_the_noise_of_a_rate_grows_as_is_told(bins):
    """A table without rows: 2,000 groups' selected rows are the noise alone, of half of the bins for each label."""
    groups = (*(f"group {number}" for number in range(2000)), "unknown")
    empty = GroupTable.zeros(attribute="sex", groups=groups, labels=("no", "yes"), num_bins=bins, scored=True)
    promise = EvaluationPrivacy.from_run_plan(binned(audit={"score_bins": bins}), labelled=True)
    noisy = promise.noisy_table(empty, noise.SeededRandomness(torch.Generator().manual_seed(3)))
    selected = noisy.counts[:, :, bins // 2 :].sum(axis=(1, 2))
    assert selected.std() == pytest.approx(
        math.sqrt(bins * promise.cell_variance), rel=0.07
    )  # 4.4 standard errors: false alarm 1e-5


@pytest.mark.parametrize(
    "plan",
    [
        {"audit": {"score_bins": 2}},
        {"audit": {"threshold": 0.25}},
        {"audit": {"sensitive": []}},
        {"audit": {"hooks": ["my_hooks:scores"]}},
        {"algorithm": {"name": "fedminmax"}},
    ],
)
def test_bins_that_are_needed_or_do_no_harm_are_not_warned_of(plan):
    assert "noise-in-every-bin" not in [found.rule.id for found in lint(subject(plan=binned(**plan)))]


def test_more_than_two_labels_have_no_score_bins_to_be_warned_of():
    task = type("Several", (TinyTask,), {"labels": ("a", "b", "c")})()
    assert "noise-in-every-bin" not in [found.rule.id for found in lint(Subject(plan=binned(), task=task))]


def test_a_mistake_is_planted_for_every_rule():
    assert set(PLANTED) == {rule.id for rule in RULES}
    assert len({rule.id for rule in RULES}) == len(RULES)


@pytest.mark.parametrize(("name", "number"), CASES)
def test_a_planted_mistake_is_found(monkeypatch, name, number):
    planted = PLANTED[name][number](monkeypatch)
    found = {finding.rule.id: finding for finding in lint(planted)}
    assert name in found, sorted(found)
    rule = found[name].rule
    assert rule.why in found[name].text
    assert rule.fix in found[name].text
    if rule.severity == "refuse":
        with pytest.raises(PrivacyError, match=r"cannot be trained with the privacy"):
            refuse(found.values())
    else:
        assert any(line.startswith(name) for line in warnings_of(found.values()))


def test_in_a_clean_plan_nothing_is_found():
    assert lint(clean()) == ()


def with_layer(layer):
    return TinyTask(model=lambda: nn.Sequential(nn.Linear(4, 8), layer, nn.ReLU(), nn.Linear(8, 2)))


def test_batch_normalisation_that_no_reading_finds_is_a_finding_and_no_crash():
    found = lint(measured(with_layer(Reaching())))
    assert [finding.rule.id for finding in found] == ["record-isolation"]
    assert "per-record gradients of this model cannot be computed (ValueError" in found[0].where


def test_numbers_that_each_record_draws_for_itself_are_no_coupling():
    assert lint(measured(with_layer(Chancy()))) == ()


def test_a_draw_that_brings_records_together_is_found():
    assert [finding.rule.id for finding in lint(measured(with_layer(Shuffling())))] == ["record-isolation"]


def test_with_enough_clients_the_noise_drowns_nothing():
    assert lint(subject(plan=for_clients(1000))) == ()


def test_where_nothing_is_promised_nothing_is_found():
    assert lint(Subject(plan=build_plan(), model=nn.BatchNorm1d(8))) == ()


@pytest.mark.parametrize("rate", [0.001, 0.02, 0.3, 0.9, 1.0])
def test_the_mechanism_that_is_shipped_passes_its_trials_at_any_rate(rate):
    for _ in range(5):
        assert lint(subject(plan=planned(sampling_rate=rate, delta=1e-7))) == ()


class Noting(TinyTask):
    """Keeps what does not show in any gradient yet."""

    def loss(self, model, batch):
        self.last = batch["targets"]
        return super().loss(model, batch)


@pytest.mark.parametrize("name", ["kept", "no noise"])
def test_a_simulation_is_refused_before_anything_is_written(tmp_path, name):
    task, plan = {"kept": (Noting(), planned()), "no noise": (TinyTask(), planned(noise_multiplier=0.0))}[name]
    with pytest.raises(PrivacyError, match="cannot be trained with the privacy"):
        simulate(task, plan, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_rules_that_need_rows_are_applied_before_a_simulation(monkeypatch):
    asked = []
    for rule in ROW_RULES:
        watched = replace(rule, find=lambda subject, rule=rule: asked.append((rule.id, subject)) or ())
        monkeypatch.setattr(linter, "ROW_RULES", tuple(watched if r is rule else r for r in linter.ROW_RULES))
        monkeypatch.setattr(linter, "RULES", tuple(watched if r is rule else r for r in linter.RULES))
    simulate(TinyTask(), planned())
    assert [name for name, _ in asked] == [rule.id for rule in ROW_RULES]
    _, subject = asked[0]
    assert (len(subject.training), len(subject.held_out), subject.isolation.level) == (96, 24, Level.PROVEN)


def test_a_simulation_shows_that_rows_are_held_out_and_trained_on_but_no_statement_does(tmp_path):
    class Doubled(TinyTask):
        def load_data(self, path):
            rows = super().load_data(path)
            return Examples.joined([rows, rows])

    remembered = Remembered()
    result = simulate(Doubled(), planned(), listeners=[remembered])
    warned = remembered.beginning.warnings
    assert [line.split(": ")[1] for line in warned if line.startswith("warning")] == ["trained-rows-evaluated"]
    assert result.privacy["verification"]["linter_warnings"] == []


@pytest.mark.parametrize("rows", [120, 0])
def test_a_client_applies_the_rules_that_need_rows_before_training_and_asks_none_of_its_own(rows):
    task, plan = Remembering(), build_private_plan()
    own = task.load_data(None).select(torch.arange(rows))
    runner = TaskRunner(task, lambda _: None, allow_test_noise=True, device="cpu")
    with pytest.raises(PrivacyError):
        runner.check_rows(Client(name="c", training=own, held_out=None), build_local(plan, task=task))


def test_warnings_of_a_run_stand_in_its_statement():
    told = simulate(TinyTask(), planned(trials=None)).privacy["verification"]["linter_warnings"]
    assert [line.partition(":")[0] for line in told] == ["uncharged-search"]
    assert simulate(TinyTask(), planned()).privacy["verification"]["linter_warnings"] == []


def test_a_simulation_tells_a_warning_in_a_line_and_that_a_run_is_worthless_in_full():
    told = []

    def introduced(plan):
        console = Console(file=StringIO(), width=1000)
        with RoundsDisplay(console) as display:
            simulate(TinyTask(), plan.updated(engine={"name": "loop"}), listeners=[display])
        told.append([line for line in console.file.getvalue().splitlines() if not line.startswith("round")][1:])

    introduced(planned(trials=None))
    introduced(for_clients(10))
    introduced(planned())
    assert told[0] == [
        "warning: uncharged-search: privacy.trials is not given",
        "fedcore lint privacy PLAN says why, and what to do",
    ]
    (drowned,) = told[1]
    assert drowned.startswith("warning: drowned-in-noise: the noise is ")
    assert "would learn next to nothing" in drowned
    assert "take unit record" in drowned
    assert told[2] == []


def command(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["fedcore", "lint", "privacy", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        main()
    told = capsys.readouterr()
    return left.value.code or 0, told.out, told.err


def toml(path, plan, task):
    path.write_text(plan.updated(task={"name": task}).to_toml())
    return path


def test_the_command_tells_what_it_refuses_and_ends_with_1(monkeypatch, capsys, tmp_path):
    path = toml(tmp_path / "plan.toml", planned(noise_multiplier=0.0), "digits")
    code, out, _ = command(monkeypatch, capsys, path)
    assert code == 1
    assert "refuse no-noise: privacy.noise-multiplier = 0: without noise ε is infinite" in out
    code, out, _ = command(monkeypatch, capsys, path, "--json")
    told = json.loads(out)
    assert code == 1
    assert told["refused"] is True
    assert [finding["rule"] for finding in told["findings"]] == ["no-noise"]


def test_the_command_finds_a_clean_plan_clean(monkeypatch, capsys, tmp_path):
    path = toml(tmp_path / "plan.toml", planned(), "digits")
    code, out, _ = command(monkeypatch, capsys, path, "--json")
    told = json.loads(out)
    assert code == 0
    assert told.pop("isolation")["name"] == "proven"
    assert told == {"promised": True, "refused": False, "findings": [], "not_measured": None}


class Branching(TinyTask):
    """Cannot be run on a row alone, for it reads values."""

    def loss(self, model, batch):
        losses = functional.cross_entropy(model(batch["inputs"]), batch["targets"], reduction="none")
        return losses if float(batch["inputs"].abs().max()) < 1e6 else losses / 2


def test_the_command_says_how_records_are_kept_apart_and_refuses_what_cannot_be_isolated(monkeypatch, capsys, tmp_path):
    path = toml(tmp_path / "plan.toml", planned(), "tests.privacy.test_linter:Branching")
    code, out, _ = command(monkeypatch, capsys, path)
    assert code == 0
    assert "warn probed-isolation: Branching has a loss or a prediction of its own; " in out
    assert "\nisolation of records: probed (Branching has" in out
    code, out, _ = command(monkeypatch, capsys, path, "--set", "privacy.isolation=isolated")
    assert code == 1
    assert 'refuse record-isolation: measured: privacy.isolation = "isolated" is impossible' in out
    path = toml(tmp_path / "plan.toml", planned(), "digits")
    assert "isolation of records: proven\n" in command(monkeypatch, capsys, path, "--no-measure")[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["absent.toml"], "no plan at"),
        (["digits", "--set", "privacy.epsilom=1"], "did you mean 'epsilon'"),
        (["no_such_module:task"], "no_such_module"),
    ],
)
def test_what_cannot_be_linted_ends_with_2(monkeypatch, capsys, words, message):
    code, _, err = command(monkeypatch, capsys, *words, "--set", "privacy.unit=record", "--set", "privacy.epsilon=1")
    assert code == 2
    assert message in err
