"""DP-SGD of many clients at once releases what each client alone would release, and keeps clients and records apart."""

import pytest
import torch
from torch import nn

from fedcore.algorithms.registry import ALGORITHMS, ASYNCHRONOUS
from fedcore.errors import PlanError
from fedcore_clients.training.dp.ghost import GhostGradients
from fedcore_clients.training.dp.ghost_rules import rules_of
from fedcore_clients.training.local_model import Client
from fedcore_clients.training.train import train_locally
from fedcore_simulations import simulate
from fedcore_simulations.engines.batched.training import CohortTraining
from tests.builders import TinyTask, build_client, build_local, build_private_plan, build_request
from tests.models import plain
from tests.virtual_time.builders import UNEQUAL

AUDIT = {"sensitive": ["sex"], "vocabularies": {"sex": ["female", "male", "unknown"]}}


def vector(result):
    return torch.cat([tensor.flatten().double() for tensor in result.model.state_dict().values()])


def trained(name, *, model=plain, **sections):
    training = {"precision": "float64", **sections.pop("training", {})}
    federation = {"clients": 6, "rounds": 3, "cohort_size": 5, "partition": "dirichlet:0.5"}
    engine = {"name": name, "workers": 1}
    plan = build_private_plan(engine=engine, training=training, federation=federation, **sections)
    return simulate(TinyTask(model=model), plan)


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
@pytest.mark.parametrize("algorithm", ALGORITHMS.rows)
def test_every_algorithm_and_optimizer_gives_the_model_of_the_loop(algorithm, optimizer):
    sections = {"algorithm": {"name": algorithm}, "training": {"optimizer": optimizer}}
    if ALGORITHMS.make(algorithm).learns:
        sections["audit"] = AUDIT
    if algorithm in ASYNCHRONOUS:
        sections |= {"devices": UNEQUAL, "algorithm": {"name": "fedbuff:2" if algorithm == "fedbuff" else algorithm}}
    try:
        expected = trained("loop", **sections)
    except PlanError as refusal:
        pytest.skip(f"the plan is refused: {refusal}")
    assert torch.allclose(vector(trained("batched", **sections)), vector(expected), rtol=0.0, atol=1e-12)


@pytest.mark.parametrize(
    "privacy",
    [
        {"sampling_rate": 1.0},
        {"sampling_rate": 0.02},  # of most clients no row is drawn
        {"relation": "add-remove", "noise_precision": "float32", "learning_rate": 0.3},
    ],
)
def test_every_kind_of_privacy_gives_the_model_of_the_loop(privacy):
    expected, found = (trained(name, privacy=privacy) for name in ("loop", "batched"))
    assert torch.allclose(vector(found), vector(expected), rtol=0.0, atol=1e-12)
    assert found.summary["epsilon"] == expected.summary["epsilon"]


def test_batches_in_several_passes_give_the_same_model():
    whole, parts = (trained("batched", training={"max_physical_batch": most}) for most in (256, 3))
    assert torch.allclose(vector(whole), vector(parts), rtol=0.0, atol=1e-12)


def layers():
    """Layers of every rule: positions, a normalisation, an embedding, a convolution."""
    return nn.Sequential(
        nn.Embedding(5, 6), nn.LayerNorm(6), nn.Linear(6, 40), nn.Conv1d(4, 3, 3), nn.Flatten(), nn.Linear(114, 2)
    )


def test_sums_of_groups_are_those_of_each_group_alone():
    generator = torch.Generator().manual_seed(0)
    model = layers().double()
    tokens = torch.randint(0, 5, (12, 4), generator=generator)
    ghost = GhostGradients([*model.parameters()], rules_of(model))
    found = ghost.contributions(lambda: model(tokens).square().sum(1), 12)
    factors = torch.rand(12, generator=generator, dtype=torch.float64)
    expected = torch.zeros(3, sum(parameter.numel() for parameter in model.parameters()), dtype=torch.float64)
    for group, total in enumerate(expected):
        only = torch.where(torch.arange(12) // 4 == group, factors, 0.0)
        found.add_weighted_sum(only, total)
    assert torch.allclose(found.sums_of_groups(factors, 3), expected, rtol=0.0, atol=1e-12)


def clients(*, rows=12, count=3):
    return [build_client(name=f"client-{number}", rows=rows, seed=number) for number in range(count)]


def cohort(plan, owners, *, model=plain):
    local = build_local(plan, task=TinyTask(model=model))
    owners = [owner.to(dtype=local.dtype, device=local.device) for owner in owners]
    training = CohortTraining(local, owners, len(owners))
    request = build_request(local.parameters.clone(), cohort=tuple(owner.name for owner in owners))
    return training, request


def released(plan, owners, steps=1):
    """What each client releases in each step from the same weights, shape ``(steps, k, parameters)``."""
    training, request = cohort(plan, owners)
    training._cohort.receive(request.parameters.buffer, len(owners))
    order = list(range(len(owners)))
    return torch.stack([training._cohort.gradient.clone() for _ in training._private.steps(request, order, None)])


def test_blanking_a_record_moves_its_own_clients_release_within_the_clip_norm_and_no_other():
    plan = build_private_plan(privacy={"sampling_rate": 1.0, "nominal_batch": 1.0, "clip_norm": 0.5})
    owners = clients()
    before = released(plan, owners)[0]
    for row in range(12):
        columns = {name: column.clone() for name, column in owners[1].training.columns.items()}
        columns["inputs"][row] = 1e4  # the record is another: its contribution moves by at most twice the clip norm
        changed = type(owners[1].training)(columns=columns, attributes=owners[1].training.attributes)
        neighbours = [owners[0], Client(name="client-1", training=changed, held_out=None), owners[2]]
        moved = (released(plan, neighbours)[0] - before).double().norm(dim=1)
        assert moved[0] == moved[2] == 0.0
        assert 0.0 < moved[1] <= 2 * 0.5 * (1 + 1e-4)


def test_noise_has_the_plans_variance_and_is_independent_over_clients_and_steps():
    privacy = {"noise": "secure", "noise_multiplier": 100.0, "steps_per_round": 20, "nominal_batch": 1.0}
    plan = build_private_plan(privacy=privacy, training={"precision": "float64"})
    found = torch.cat([released(plan, clients(count=20)) for _ in range(10)]) / 100.0
    samples = found.permute(1, 0, 2).reshape(20, -1)  # by client: 200 steps of 58 numbers
    assert abs(float(found.var()) - 1.0) < 5 * (2 / found.numel()) ** 0.5 + 3e-4  # rows add up to 1e-4 of it
    between = torch.corrcoef(samples) - torch.eye(20)
    assert float(between.abs().max()) < 6 / samples.shape[1] ** 0.5
    after = (found[1:] * found[:-1]).mean()
    assert abs(float(after)) < 6 / found[1:].numel() ** 0.5 + 1e-3


def test_each_record_is_drawn_with_the_sampling_rate_from_its_own_client():
    plan = build_private_plan(privacy={"noise": "secure", "sampling_rate": 0.25})
    owners = [build_client(name=name, rows=rows) for name, rows in (("a", 7), ("b", 30), ("c", 1))]
    training, request = cohort(plan, owners)
    order, drawn = [1, 0, 2], training._private._randomness(request, [1, 0, 2])
    counts = torch.zeros(3, 38)
    for _ in range(2000):
        for place, batch in enumerate(training._private._batches(drawn, order)):
            assert len(set(batch.tolist())) == len(batch)
            counts[place, batch] += 1
    starts = {0: (7, 37), 1: (0, 7), 2: (37, 38)}
    for place, (start, end) in starts.items():
        own = counts[place, start:end]
        assert torch.equal(counts[place].sum(), own.sum())
        assert float((own / 2000 - 0.25).abs().max()) < 5 * (0.25 * 0.75 / 2000) ** 0.5


def test_a_record_that_is_not_finite_adds_exactly_zero():
    plan = build_private_plan(privacy={"sampling_rate": 1.0}, training={"precision": "float64"})
    owners = clients()
    columns = {name: column.clone() for name, column in owners[0].training.columns.items()}
    columns["inputs"][3] = float("nan")
    broken = type(owners[0].training)(columns=columns, attributes=owners[0].training.attributes)
    kept = owners[0].training.select(torch.tensor([row for row in range(12) if row != 3]))
    with_it, without = (
        released(plan, [Client(name="client-0", training=rows, held_out=None), *owners[1:]])[0]
        for rows in (broken, kept)
    )
    assert torch.allclose(with_it, without, rtol=0.0, atol=1e-12)


class Tokens(TinyTask):
    """Each row is four tokens, one of which no row may hold."""

    def build_model(self):
        return nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(12, 2))


def owners_of_tokens(bad=None):
    owners = []
    for owner in clients():
        inputs = owner.training.columns["inputs"].abs().long().clamp(max=4)
        examples = type(owner.training)(columns={**owner.training.columns, "inputs": inputs})
        owners.append(Client(name=owner.name, training=examples, held_out=None))
    if bad is not None:
        owners[1].training.columns["inputs"][2, 0] = bad
    return owners


@pytest.mark.parametrize("bad", [5, 7, 12, 99, -1, -6])  # some are places in the tables of other clients
def test_a_token_that_there_is_not_adds_zero_and_moves_no_other_record_or_client(bad):
    plan, owners = build_private_plan(privacy={"sampling_rate": 1.0}), owners_of_tokens(bad)
    local = build_local(plan, task=Tokens())
    request = build_request(local.parameters.clone(), cohort=tuple(owner.name for owner in owners))
    (block,) = CohortTraining(local, owners, 3).train(request, [0, 1, 2])
    (healthy,) = CohortTraining(local, owners_of_tokens(), 3).train(request, [0, 1, 2])
    for row, owner in enumerate(owners):
        expected = train_locally(local, owner, request)
        assert torch.allclose(block.values["update"][row], expected.values["update"], rtol=0.0, atol=1e-6)
        assert block.privacy_event == expected.privacy_event
        assert (owner.name == "client-1") != torch.equal(block.values["update"][row], healthy.values["update"][row])
