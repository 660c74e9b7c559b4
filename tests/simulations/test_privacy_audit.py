"""The audit finds planted mistakes, and leaves a right mechanism alone."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from fedcore.cli import build_app
from fedcore.errors import PlanError, RunDirectoryError
from fedcore.plan import RunPlan, read_toml
from fedcore.privacy.accounting import epsilon_of
from fedcore.privacy.noise import SecureRandomness, SeededRandomness
from fedcore.privacy.plan import PrivacyEvent
from fedcore_clients.training import train as training
from fedcore_clients.training.dp.per_example import PerExampleGradients
from fedcore_server.aggregation import private_mean
from fedcore_server.rounds import combining, rounds
from fedcore_simulations.preparation import prepare
from fedcore_simulations.privacy_audit import record_level
from fedcore_simulations.privacy_audit.audit import audit_privacy
from fedcore_simulations.privacy_audit.client_level import ClientLevelSubject
from fedcore_simulations.privacy_audit.membership import _rates, attack
from fedcore_simulations.privacy_audit.noise_probe import probe_spread
from fedcore_simulations.privacy_audit.record_level import RecordLevelSubject
from fedcore_simulations.privacy_audit.run_marking import is_run, keep
from fedcore_simulations.runner import simulate
from tests.builders import TinyTask, build_plan

CANARIES = 300


def record_subject(**privacy):
    values = {
        "unit": "record",
        "noise-multiplier": 2.0,
        "sampling-rate": 0.5,
        "steps-per-round": 3,
        "nominal-batch": 10.0,
        **privacy,
    }
    plan = build_plan(federation={"clients": 1, "rounds": 8}, aggregation={"rule": "uniform"}, privacy=values)
    return RecordLevelSubject(TinyTask(), plan, TinyTask().load_data(None), num_canaries=CANARIES)


def one_step_subject():
    return record_subject(**{"steps-per-round": 1})


def client_subject(**privacy):
    values = {"unit": "client", "noise-multiplier": 3.0, **privacy}
    plan = build_plan(federation={"clients": 50, "rounds": 20}, aggregation={"rule": "uniform"}, privacy=values)
    return ClientLevelSubject(plan, num_canaries=CANARIES)


def adaptive_subject(**privacy):
    return client_subject(**{"clip-quantile": 0.5, **privacy})


SUBJECTS = {"record": record_subject, "client": client_subject, "client, adaptive": adaptive_subject}


def audited(subject, seed=0):
    return audit_privacy(subject, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("unit", SUBJECTS)
def test_a_right_mechanism_is_not_refuted_and_its_estimate_is_near(unit):
    audit = audited(SUBJECTS[unit]())
    assert not audit.violated, audit.to_json()
    assert 0.3 * audit.proven < audit.estimate < 2 * audit.proven  # five standard deviations of the estimate
    assert all(bound.epsilon <= min(audit.proven, bound.ceiling) for bound in audit.bounds[1:])


@pytest.mark.parametrize("unit", SUBJECTS)
def test_the_proven_bound_is_the_accountants_for_the_whole_run(unit):
    subject = SUBJECTS[unit]()
    assert audited(subject).proven == epsilon_of(subject.privacy.total_event, 1e-5)


def halve_noise_at_clients(monkeypatch):
    honest = training.release

    def halved(clipped, plan, randomness, **rest):
        return honest(clipped, replace(plan, noise_multiplier=plan.noise_multiplier / 2), randomness, **rest)

    monkeypatch.setattr(training, "release", halved)


def triple_clip_at_clients(monkeypatch):
    honest = PerExampleGradients.clipped_sum
    monkeypatch.setattr(
        PerExampleGradients,
        "clipped_sum",
        lambda self, batch, clip, factors=None, **rest: honest(self, batch, 3 * clip, factors, **rest),
    )


def forget_a_layer_at_clients(monkeypatch):
    honest = training.release

    def forgetful(clipped, plan, randomness, **rest):
        released = honest(clipped, plan, randomness, **rest)
        released[:32] = clipped[:32] / plan.nominal_batch  # the weight of the first layer
        return released

    monkeypatch.setattr(training, "release", forgetful)


def reuse_the_seed_at_clients(monkeypatch):
    monkeypatch.setattr(training, "client_randomness", lambda *_: SeededRandomness(torch.Generator().manual_seed(7)))


def draw_one_batch_for_good_at_clients(monkeypatch):
    """The sampler draws once: rows that are in the batch are in every batch."""
    honest, drawn = training.poisson_batch, {}

    def once(num_examples, plan, randomness):
        return drawn.setdefault(num_examples, honest(num_examples, plan, randomness))

    monkeypatch.setattr(training, "poisson_batch", once)


def let_noise_fade_at_clients(monkeypatch):
    """Half of the noise after the third round, as by a schedule that nobody charges."""
    honest_training, honest_release, at = training.train_locally, training.release, [0]

    def train(local, client, request):
        at[0] = request.round
        return honest_training(local, client, request)

    def fading(clipped, plan, randomness, **rest):
        noise = plan.noise_multiplier / (2 if at[0] > 3 else 1)
        return honest_release(clipped, replace(plan, noise_multiplier=noise), randomness, **rest)

    monkeypatch.setattr(record_level, "train_locally", train)
    monkeypatch.setattr(training, "release", fading)


def share_noise_between_clients(monkeypatch):
    """A stream for each round of a run, and the same one for every client."""
    secrets = {}

    def shared(local, kind, round, attempt, client):
        if (round, client) == (1, "audited"):
            secrets["of the run"] = SecureRandomness().uniform(1).mul(2**40).long().item()
        return SeededRandomness(torch.Generator().manual_seed(secrets["of the run"] * 1000 + round))

    monkeypatch.setattr(training, "client_randomness", shared)


def shuffle_epochs_at_clients(monkeypatch):
    """Rows are dealt from shuffled epochs, in batches of the sizes that Poisson sampling would have."""
    left = {}

    def dealt(num_examples, plan, randomness):
        size = int((randomness.uniform(num_examples) < plan.sampling_rate).sum())
        batch = left.pop(num_examples, torch.zeros(0, dtype=torch.int64))
        while len(batch) < size:
            batch = torch.cat([batch, randomness.uniform(num_examples).argsort()])
        left[num_examples] = batch[size:]
        return batch[:size]

    monkeypatch.setattr(training, "poisson_batch", dealt)


def avoid_the_batch_before_at_clients(monkeypatch):
    """Rows of the last batch are drawn less often, all others more often: each has the right rate by itself."""
    honest, before, at = training.train_locally, {}, [""]

    def train(local, client, request):
        at[0] = client.name
        return honest(local, client, request)

    def shy(num_examples, plan, randomness):
        last = before.get((at[0], num_examples), torch.full((num_examples,), plan.sampling_rate) > 1.0)
        rate = plan.sampling_rate + torch.where(last, -0.2 * (1 - plan.sampling_rate), 0.2 * plan.sampling_rate)
        before[at[0], num_examples] = drawn = randomness.uniform(num_examples) < rate
        return drawn.nonzero().flatten()

    monkeypatch.setattr(record_level, "train_locally", train)
    monkeypatch.setattr(training, "poisson_batch", shy)


def clip_each_layer_at_clients(monkeypatch):
    """Each tensor's part of a gradient is clipped by itself, and the sum sold as clipped over all together."""

    def clipped_sum(self, batch, clip, factors=None, *, out=None):
        size = len(next(iter(batch.values())))
        summed = self.zeros()
        if size:
            factors = torch.ones(size) if factors is None else factors
            gradients = self.contributions(batch, range(size))[0] * factors[:, None]
            parts = gradients.split([parameter.numel() for parameter in self._trained], dim=1)
            summed = torch.cat(
                [(part * (clip / part.norm(dim=1, keepdim=True).clamp(min=clip))).sum(0) for part in parts]
            )
        return summed if out is None else out.copy_(summed)

    monkeypatch.setattr(PerExampleGradients, "clipped_sum", clipped_sum)


def clip_each_tensor_at_the_server(monkeypatch):
    def add(self, block):
        for row in block.vectors["update"]:
            for part in row.chunk(2):  # the subject's tensors
                part.mul_(min(1.0, self._clip_norm / (float(part.norm()) + 1e-30)))
            self.total.add_(row)

    monkeypatch.setattr(private_mean.PrivateMean, "add", add)


class Paired:
    """Normals in pairs of opposite signs."""

    def __init__(self, inner):
        self.inner = inner

    def uniform(self, size):
        return self.inner.uniform(size)

    def normal(self, size, dtype=torch.float64):
        half = self.inner.normal((size + 1) // 2, dtype)
        return torch.stack([half, -half], dim=1).flatten()[:size]


def pair_noise_at_clients(monkeypatch):
    honest = training.client_randomness
    monkeypatch.setattr(training, "client_randomness", lambda *stream: Paired(honest(*stream)))


def cancel_noise_between_rounds_at_clients(monkeypatch):
    """Every second round's noise is that of the one before with the other sign: antithetic."""
    drawn = {}

    class Cancelling:
        def __init__(self, round, client):
            self.inner, self.place = SecureRandomness(), (client, (round + 1) // 2)
            self.sign, self.first = (1.0, True) if round % 2 else (-1.0, False)
            self.at = 0

        def uniform(self, size):
            return self.inner.uniform(size)

        def normal(self, size, dtype=torch.float64):
            kept = drawn.setdefault(self.place, [])
            if self.first:
                if self.at == 0:
                    kept.clear()
                kept.append(self.inner.normal(size, dtype))
            self.at += 1
            return self.sign * kept[self.at - 1]

    monkeypatch.setattr(
        training, "client_randomness", lambda local, kind, round, attempt, client: Cancelling(round, client)
    )


def noise_the_first_step_only_at_clients(monkeypatch):
    honest_training, honest_release, step = training.train_locally, training.release, [0]

    def train(local, client, request):
        step[0] = 0
        return honest_training(local, client, request)

    def first_only(clipped, plan, randomness, **rest):
        step[0] += 1
        return honest_release(
            clipped, plan if step[0] == 1 else replace(plan, noise_multiplier=0.0), randomness, **rest
        )

    monkeypatch.setattr(record_level, "train_locally", train)
    monkeypatch.setattr(training, "release", first_only)


def draw_the_same_batches_in_every_run(monkeypatch):
    """From a seed that goes by client and round alone, which a server could know."""
    honest = training.train_locally
    place = []

    def train(local, client, request):
        place[:] = [hash((client.name, request.round)) % 2**31, 0]
        return honest(local, client, request)

    def seeded(num_examples, plan, randomness):
        place[1] += 1
        generator = torch.Generator().manual_seed(place[0] * 100 + place[1])
        return (torch.rand(num_examples, generator=generator) < plan.sampling_rate).nonzero().flatten()

    monkeypatch.setattr(record_level, "train_locally", train)
    monkeypatch.setattr(training, "poisson_batch", seeded)


def draw_pairs_of_records(monkeypatch):
    """Each two neighbours share a coin."""

    def paired(num_examples, plan, randomness):
        coins = randomness.uniform((num_examples + 1) // 2) < plan.sampling_rate
        return coins.repeat_interleave(2)[:num_examples].nonzero().flatten()

    monkeypatch.setattr(training, "poisson_batch", paired)


def forget_a_number_at_clients(monkeypatch):
    """One weight of all has no noise."""
    honest = training.release

    def forgetful(clipped, plan, randomness, **rest):
        released = honest(clipped, plan, randomness, **rest)
        released[3] = clipped[3] / plan.nominal_batch
        return released

    monkeypatch.setattr(training, "release", forgetful)


class Coins:
    """Noise of the right variance that is 1 or -1."""

    def uniform(self, size):
        return SecureRandomness().uniform(size)

    def normal(self, size, dtype=torch.float64):
        return (self.uniform(size) < 0.5).to(dtype) * 2.0 - 1.0


def toss_coins_for_noise_at_clients(monkeypatch):
    monkeypatch.setattr(training, "client_randomness", lambda *_: Coins())


def halve_noise_at_the_server(monkeypatch):
    honest = private_mean.PrivateMean.__init__

    def halved(self, privacy, *rest):
        honest(self, replace(privacy, noise_multiplier=privacy.noise_multiplier / 2), *rest)

    monkeypatch.setattr(private_mean.PrivateMean, "__init__", halved)


def triple_clip_at_the_server(monkeypatch):
    honest = private_mean.PrivateMean.add

    def tripled(self, block):
        self._clip_norm, before = 3 * self._clip_norm, self._clip_norm
        honest(self, block)
        self._clip_norm = before

    monkeypatch.setattr(private_mean.PrivateMean, "add", tripled)


def reuse_the_seed_at_the_server(monkeypatch):
    for module in (rounds, combining):
        monkeypatch.setattr(module, "server_randomness", lambda *_: SeededRandomness(torch.Generator().manual_seed(7)))


def new_in_each_run():
    """Randomness that is seeded anew in each round, with a seed that only its run has."""
    seeds = {}

    def reseeded(round):
        if round == 1:
            seeds["of the run"] = SecureRandomness().uniform(1).mul(2**53).long().item()
        return SeededRandomness(torch.Generator().manual_seed(seeds["of the run"]))

    return reseeded


def seed_each_round_anew_at_clients(monkeypatch):
    reseeded = new_in_each_run()
    monkeypatch.setattr(training, "client_randomness", lambda local, kind, round, *rest: reseeded(round))


def seed_each_round_anew_at_the_server(monkeypatch):
    reseeded = new_in_each_run()
    monkeypatch.setattr(combining, "server_randomness", lambda plan, privacy, round, *rest: reseeded(round))


def plant_in_the_count(monkeypatch, count_after):
    """Let `count_after(mean)` decide on the count by which the clip norm moves."""

    def next_clip_norm(self):
        return self._privacy.next_clip_norm(self._clip_norm, count_after(self))

    monkeypatch.setattr(private_mean.PrivateMean, "_next_clip_norm", next_clip_norm)


def noise_of_the_count(mean):
    return mean._privacy.count_noise_std * float(mean._randomness.normal(1))


def forget_the_counts_noise(monkeypatch):
    plant_in_the_count(monkeypatch, lambda mean: mean.centred_within)


def halve_the_counts_noise(monkeypatch):
    plant_in_the_count(monkeypatch, lambda mean: mean.centred_within + noise_of_the_count(mean) / 2)


def count_without_centring(monkeypatch):
    """A client moves the count by one and not by a half."""
    plant_in_the_count(monkeypatch, lambda mean: 2 * mean.centred_within + noise_of_the_count(mean))


def count_blanked_clients(monkeypatch):
    honest = private_mean.PrivateMean.add

    def counting(self, block):
        honest(self, block)
        self.centred_within += 0.5 * float((block.vectors["update"].norm(dim=1) == 0.0).sum())

    monkeypatch.setattr(private_mean.PrivateMean, "add", counting)


DEFECTS = {
    "record, noise halved": (record_subject, halve_noise_at_clients),
    "record, clip tripled": (record_subject, triple_clip_at_clients),
    "record, noise forgotten for one layer": (record_subject, forget_a_layer_at_clients),
    "record, seed reused": (record_subject, reuse_the_seed_at_clients),
    "record, one batch for good": (record_subject, draw_one_batch_for_good_at_clients),
    "record, noise fades": (record_subject, let_noise_fade_at_clients),
    "record, noise shared by two clients": (record_subject, share_noise_between_clients),
    "record, shuffled epochs": (record_subject, shuffle_epochs_at_clients),
    "record, batches avoid the last one": (one_step_subject, avoid_the_batch_before_at_clients),
    "record, each layer clipped by itself": (record_subject, clip_each_layer_at_clients),
    "record, noise in pairs of opposite signs": (record_subject, pair_noise_at_clients),
    "record, noise cancels between rounds": (record_subject, cancel_noise_between_rounds_at_clients),
    "record, noise in the first step only": (record_subject, noise_the_first_step_only_at_clients),
    "record, the same batches in every run": (record_subject, draw_the_same_batches_in_every_run),
    "record, pairs of records share a coin": (record_subject, draw_pairs_of_records),
    "record, one number without noise": (record_subject, forget_a_number_at_clients),
    "record, noise of coins": (record_subject, toss_coins_for_noise_at_clients),
    "client, each tensor clipped by itself": (client_subject, clip_each_tensor_at_the_server),
    "client, noise halved": (client_subject, halve_noise_at_the_server),
    "client, clip tripled": (client_subject, triple_clip_at_the_server),
    "client, seed reused": (client_subject, reuse_the_seed_at_the_server),
    "record, each round seeded anew": (record_subject, seed_each_round_anew_at_clients),
    "client, each round seeded anew": (client_subject, seed_each_round_anew_at_the_server),
    "adaptive, noise halved": (adaptive_subject, halve_noise_at_the_server),
    "adaptive, clip tripled": (adaptive_subject, triple_clip_at_the_server),
    "adaptive, each round seeded anew": (adaptive_subject, seed_each_round_anew_at_the_server),
    "adaptive, count noise forgotten": (adaptive_subject, forget_the_counts_noise),
    "adaptive, count noise halved": (adaptive_subject, halve_the_counts_noise),
    "adaptive, count not centred": (adaptive_subject, count_without_centring),
    "adaptive, blanked clients counted": (adaptive_subject, count_blanked_clients),
}


MEANT = {
    "record, noise shared by two clients": "noise is new in each round, client and run",
    "record, shuffled epochs": "each record is drawn by itself in each step",
    "record, batches avoid the last one": "batches of successive rounds overlap as by chance",
    "record, each layer clipped by itself": "a contribution over all tensors together",
    "client, each tensor clipped by itself": "a contribution over all tensors together",
    "record, noise in pairs of opposite signs": "noise has no pattern",
    "record, the same batches in every run": "batches of different clients and runs overlap as by chance",
    "record, pairs of records share a coin": "draws of neighbouring records overlap as by chance",
    "record, one number without noise": "every number has noise",
    "record, noise of coins": "noise is normal",
}
"""The probe that is meant for a defect, where one is."""


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_found_by_the_probe_that_is_meant_for_it(monkeypatch, defect):
    subject, plant = DEFECTS[defect]
    plant(monkeypatch)
    audit = audited(subject())
    assert audit.violated
    assert defect not in MEANT or MEANT[defect] in failed(audit)


@pytest.mark.slow
@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_found_in_95_of_100_trials(monkeypatch, defect):
    subject, plant = DEFECTS[defect]
    plant(monkeypatch)
    audited_subject = subject()
    found = sum(audited(audited_subject, seed).violated for seed in range(100))
    print(f"{defect}: found in {found} of 100")
    assert found >= 95


@pytest.mark.slow
@pytest.mark.parametrize("unit", SUBJECTS)
def test_a_right_mechanism_is_refuted_at_most_once_in_a_thousand_trials(unit):
    subject = SUBJECTS[unit]()
    refuted = sum(audited(subject, seed).violated for seed in range(1000))
    print(f"{unit}: refuted in {refuted} of 1000")
    assert refuted <= 1


@pytest.mark.parametrize(
    ("privacy", "rounds"),
    [({"sampling-rate": 0.5, "steps-per-round": 1}, 1), ({"clip-norm": 1e-8, "learning-rate": 1e-6}, 8)],
    ids=["one step", "tiny steps"],
)
def test_a_right_mechanism_at_the_ends_of_its_settings_is_not_refuted(privacy, rounds):
    subject = record_subject(**privacy)
    subject._plan = subject._plan.updated(federation={"rounds": rounds})
    assert not audited(subject).violated


def failed(audit):
    return [probe.name for probe in audit.probes if not probe.passed]


@pytest.mark.parametrize(
    ("rate", "noise", "steps"),
    [
        (1.0, 3.0, 20),
        (0.5, 0.3, 24),
        (0.01, 0.5, 400),
        pytest.param(0.01, 0.5, 4000, marks=pytest.mark.slow),
        (0.1, 5.0, 3),
    ],
)
def test_scores_of_a_right_mechanism_spread_as_they_should(rate, noise, steps):
    generator = np.random.default_rng(0)
    event = PrivacyEvent(sampling_rate=rate, noise_multiplier=noise, steps=steps)
    failed = 0
    for _ in range(1000):
        coins = generator.random(100) < 0.5
        counted = coins * generator.binomial(steps, rate, 100)
        scores = counted + noise * math.sqrt(steps) * generator.standard_normal(100)
        failed += not probe_spread(torch.from_numpy(scores), torch.from_numpy(coins), event, p=0.05).passed
    assert 29 <= failed <= 73, "outside of what a binomial of 1,000 and 0.05 does once in 1,000"


def test_what_is_wrong_with_the_count_is_found_by_its_own_probe(monkeypatch):
    forget_the_counts_noise(monkeypatch)
    assert failed(audited(adaptive_subject())) == ["noise in the count of updates within the clip norm"]


@pytest.mark.parametrize(
    ("subject", "plant"),
    [
        (record_subject, seed_each_round_anew_at_clients),
        (client_subject, seed_each_round_anew_at_the_server),
    ],
)
def test_noise_repeated_between_the_rounds_of_one_run_is_told_as_such(monkeypatch, subject, plant):
    plant(monkeypatch)
    assert "noise is new in each round, client and run" in failed(audited(subject()))


@pytest.mark.parametrize(
    ("quantile", "participation"),
    [
        (0.05, {}),
        (0.95, {}),
        (0.5, {"cohort-size": 40}),
        pytest.param(0.5, {}, marks=pytest.mark.slow),
        pytest.param(0.05, {"cohort-size": 40}, marks=pytest.mark.slow),
        pytest.param(0.95, {"cohort-size": 40}, marks=pytest.mark.slow),
    ],
)
def test_an_adaptive_clip_norm_stays_where_canaries_can_be_measured(quantile, participation):
    plan = build_plan(
        federation={"clients": 50, "rounds": 60, **participation},
        aggregation={"rule": "uniform"},
        privacy={"unit": "client", "noise-multiplier": 3.0, "clip-quantile": quantile},
    )
    audit = audited(ClientLevelSubject(plan, num_canaries=CANARIES))
    assert not audit.violated, audit.to_json()
    assert 0.3 * audit.proven < audit.estimate < 2 * audit.proven  # five standard deviations of the estimate


def test_a_plan_that_asks_a_part_of_the_clients_is_not_refuted():
    plan = build_plan(
        federation={"clients": 50, "rounds": 20, "cohort-size": 10},
        aggregation={"rule": "uniform"},
        privacy={"unit": "client", "noise-multiplier": 3.0},
    )
    audit = audited(ClientLevelSubject(plan, num_canaries=CANARIES))
    assert not audit.violated, audit.to_json()


def test_a_secret_cohort_is_audited_as_it_is_drawn():
    plan = build_plan(
        federation={"clients": 50, "rounds": 40, "cohort-size": 25, "cohort-sampling": "poisson", "quorum": 1},
        aggregation={"rule": "uniform"},
        privacy={"unit": "client", "noise-multiplier": 2.0, "clip-quantile": 0.5, "participation": "secret"},
    )  # fmt: skip
    audit = audited(ClientLevelSubject(plan, num_canaries=CANARIES))
    assert not audit.violated, audit.to_json()
    assert audit.estimate > 0.3 * audit.proven


def test_the_count_is_read_off_the_clip_norms():
    privacy = adaptive_subject().privacy
    for count in (-17.25, 0.0, 3.5):
        assert privacy.noisy_count(0.3, privacy.next_clip_norm(0.3, count)) == pytest.approx(count, abs=1e-9)


def test_without_noise_nothing_is_promised_and_nothing_refuted():
    audit = audited(client_subject(**{"noise-multiplier": 0.0}))
    assert audit.proven == math.inf
    assert not audit.violated
    assert audit.to_json()["proven_epsilon"] is None


def wide_model():
    return torch.nn.Sequential(torch.nn.Linear(4, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))


def test_an_attack_finds_members_of_an_overfitted_model_and_none_behind_noise():
    overfitted = build_plan(
        federation={"clients": 2, "rounds": 25},
        training={"learning-rate": 1.0, "local-epochs": 8},
        audit={"sensitive": ["sex"]},
    )
    private = build_plan(
        federation={"clients": 2, "rounds": 5},
        aggregation={"rule": "uniform"},
        privacy={"unit": "record", "epsilon": 0.5, "sampling-rate": 0.5},
    )
    task = TinyTask(rows=60, model=wide_model)
    found = attack(prepare(task, overfitted), models=8, generator=torch.Generator().manual_seed(0))
    # Its noise is fresh: an area of 0.5 with a standard deviation of 0.02. Of 8 models that would be 0.05.
    hidden = attack(prepare(task, private), models=32, generator=torch.Generator().manual_seed(0))
    assert set(found) == {"all", "sex=female", "sex=male"}
    assert found["all"].area > 0.6 > hidden["all"].area
    assert found["all"].true_positive_rates[0.001] is None  # too few rows for so few false alarms


def test_the_rates_of_an_attack_that_knows_nothing_are_those_of_guessing():
    generator = np.random.default_rng(0)
    evidence, members = generator.standard_normal((10, 2000)), generator.random((10, 2000)) < 0.5
    rates = _rates(evidence, members)
    assert rates.area == pytest.approx(0.5, abs=0.02)
    assert rates.true_positive_rates[0.01] == pytest.approx(0.01, abs=0.005)
    assert _rates(np.where(members, 1.0, 0.0), members).true_positive_rates[0.01] == 1.0


def run(*arguments):
    return CliRunner().invoke(build_app(), ["audit", "privacy", *arguments])


PLAN = """
[task]
name = "tests.builders:TinyTask"
[federation]
clients = 2
rounds = 4
[training]
device = "cpu"
[privacy]
unit = "record"
epsilon = 4.0
[engine]
workers = 1
"""


@pytest.fixture
def plan_file(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(PLAN)
    return path


def test_the_command_says_what_is_proven_measured_and_attacked_apart(plan_file):
    result = run(str(plan_file), "--canaries", "100", "--attack-models", "4")
    assert result.exit_code == 0, result.output
    assert "proven    ε ≤ 4.00" in result.output
    assert result.output.count("measured  ε ≥") == 4
    assert "this one refutes the claim if it is above" in result.output
    assert "attack    finds" in result.output


def test_a_refuted_run_is_marked_and_the_exit_code_tells(monkeypatch, plan_file, tmp_path):
    directory = tmp_path / "run"
    simulate(None, RunPlan.from_mapping(read_toml(plan_file)), out=directory)
    assert run(str(directory), "--canaries", "100", "--attack-models", "0").exit_code == 0
    assert json.loads((directory / "privacy.json").read_text())["valid"]
    triple_clip_at_clients(monkeypatch)
    result = run(str(directory), "--canaries", "300", "--attack-models", "0", "--json")
    assert result.exit_code == 1
    assert json.loads((directory / "privacy-audit.json").read_text())["privacy"] == "VIOLATED"
    statement = json.loads((directory / "privacy.json").read_text())
    assert not statement["valid"]
    assert "VIOLATED" in statement["verification"]["audit"]
    assert "no privacy guarantee" in statement["plain_language"]
    summary = json.loads((directory / "summary.json").read_text())
    assert summary["privacy_audit"] == "VIOLATED"
    assert "VIOLATED" in summary["warnings"][0]
    report = (directory / "report.html").read_text()
    assert ">VIOLATED<" in report
    assert "An audit refuted the claim of" in report
    assert "Privacy spent" not in report
    keep(directory, {"privacy": "VIOLATED"}, violated=True)
    assert json.loads((directory / "summary.json").read_text()) == summary
    explained = CliRunner().invoke(build_app(), ["privacy", "explain", str(directory / "privacy.json")])
    assert "VIOLATED" in explained.output


def test_a_statement_of_less_than_the_plan_proves_is_refuted(plan_file, tmp_path):
    directory = tmp_path / "run"
    simulate(None, RunPlan.from_mapping(read_toml(plan_file)), out=directory)
    statement = json.loads((directory / "privacy.json").read_text())
    (directory / "privacy.json").write_text(json.dumps(statement | {"epsilon": 0.05, "participations": 1}))
    result = run(str(directory), "--canaries", "100", "--attack-models", "0")
    assert result.exit_code == 1
    assert "privacy.json states" in result.output
    (directory / "privacy.json").write_text("{")
    assert run(str(directory), "--canaries", "100", "--attack-models", "0").exit_code != 0


def test_a_folder_without_a_run_and_a_deployments_run_are_told_apart_from_what_can_be_audited(
    plan_file, tmp_path, monkeypatch
):
    empty, deployed = tmp_path / "empty", tmp_path / "deployed"
    empty.mkdir()
    with pytest.raises(RunDirectoryError, match=r"empty holds no run: expected a plan\.toml"):
        is_run(str(empty))
    simulate(None, RunPlan.from_mapping(read_toml(plan_file)), out=deployed)
    assert is_run(str(deployed))
    (deployed / "status.json").touch()
    before = sorted(deployed.iterdir())
    with pytest.raises(PlanError, match="run of a deployment, whose rows are at its clients"):
        CliRunner().invoke(build_app(), ["audit", "privacy", str(deployed)], catch_exceptions=False)
    assert sorted(deployed.iterdir()) == before
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert not is_run("digits")  # a scenario, whatever folder is called like it


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ('unit = "none"', "nothing to audit"),
        ("", "no client 'nobody'"),
        (
            'unit = "record"\nepsilon = 4.0\n[algorithm]\nname = "fedbuff:2"\n[devices]\nprofiles = "phones"',
            "the membership attack trains in rounds",
        ),
    ],
)
def test_what_cannot_be_audited_is_said(plan_file, changes, words):
    if changes:
        plan_file.write_text(PLAN.replace('unit = "record"\nepsilon = 4.0', changes))
    with pytest.raises(PlanError, match=words):
        CliRunner().invoke(
            build_app(), ["audit", "privacy", str(plan_file), "--client", "nobody"], catch_exceptions=False
        )
