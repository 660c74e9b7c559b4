"""FedNova, against its paper."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fedcore.aggregation.codec import Codec
from fedcore.aggregation.contract import Array
from fedcore.aggregation.int8 import Int8
from fedcore.algorithms.contract import Cohort, LocalWork
from fedcore.algorithms.fednova import FedNova
from fedcore.errors import PlanError
from fedcore.messages import ClientUpdate
from fedcore.method.method import Method
from fedcore_server.rounds.rounds import close_round, init_state, plan_round
from fedcore_simulations import simulate
from fedcore_simulations.engines.loop import LoopEngine
from fedcore_simulations.preparation import prepare
from tests.algorithms.by_hand import batches, flat, gradient, linear
from tests.builders import TinyTask, build_plan, build_private_plan

RATE, ROUNDS = 0.1, 3


def plan_of(engine="loop", **sections):
    training = {"batch_size": 7, "local_epochs": 2, "learning_rate": RATE, "precision": "float64"}
    federation = {"clients": 4, "rounds": ROUNDS, "partition": "dirichlet:0.5"}
    engine = {"name": engine, "workers": 1}
    return build_plan(
        training=training, federation=federation, engine=engine, algorithm={"name": "fednova"}, **sections
    )


def by_the_paper(model, clients, plan):
    """Section 4 with accumulation vectors of ones, plain SGD: `d` is the normalised gradient of each client."""
    sizes = torch.tensor([len(client.training) for client in clients], dtype=torch.float64)
    weights = sizes / sizes.sum()
    for number in range(1, ROUNDS + 1):
        directions, steps = [], []
        for client in clients:
            local, gradients = model.clone(), []
            for rows in batches(client, plan, number):
                gradients.append(gradient(local, client.training, rows))
                local -= RATE * gradients[-1]
            directions.append(torch.stack(gradients).sum(0) / len(gradients))
            steps.append(len(gradients))
        effective = weights @ torch.tensor(steps, dtype=torch.float64)
        model = model - effective * RATE * weights @ torch.stack(directions)
    return model, steps


@pytest.mark.parametrize("engine", ["loop", "batched"])
def test_three_rounds_of_clients_with_unequal_steps_are_those_of_the_paper(engine):
    task, plan = TinyTask(model=linear), plan_of(engine)
    ready = prepare(task, plan)
    first = init_state(task, ready.plan).parameters.buffer
    expected, steps = by_the_paper(first, ready.clients, ready.plan)
    assert len(set(steps)) > 2
    torch.testing.assert_close(flat(simulate(task, plan).model), expected, rtol=0, atol=1e-12)


def test_buffers_that_no_gradient_moves_are_averaged():
    algorithm, received = FedNova(), torch.zeros(3, dtype=torch.float64)
    sent, _ = algorithm.finish(received + 8.0, received, {}, {}, LocalWork(steps=4, learning_rate=0.1, trained=2))
    assert sent["update"].tolist() == [2.0, 2.0, 8.0]
    direction, _ = algorithm.step(sent, {}, Cohort(counted=1, clients=1, trained=2))
    assert direction.tolist() == [8.0, 8.0, 8.0]


def test_the_number_of_steps_travels_as_it_is():
    codec = Codec([Int8()], ("update",), Array(dtype="float32", size=40), ("steps",))
    sent = {"update": torch.randn(40), "steps": torch.tensor([17.0])}
    travelling, _ = codec.encode(sent, {}, client="a", round=1, seed=0)
    assert codec.decode(codec.form.unpacked(codec.form.packed(travelling)))["steps"].tolist() == [17.0]


@pytest.mark.parametrize(("steps", "code"), [(float("nan"), "NONFINITE"), (1e6, "NORM")])
def test_a_client_that_claims_impossible_steps_is_rejected(steps, code):
    task, plan = TinyTask(model=linear), plan_of()
    ready = prepare(task, plan)
    state = init_state(task, ready.plan)
    with LoopEngine(task, ready.plan, ready.clients, num_workers=1, device=ready.device) as engine:
        request = plan_round(state, ready.plan, engine.available())
        replies = [*engine.train(request)]
        replies[0] = claiming(replies[0], steps)
        _, report = close_round(state, ready.plan, request, replies)
    assert [(each.client, each.code) for each in report.rejected] == [(replies[0].client, code)]
    assert "steps" in report.rejected[0].reason


def claiming(reply: ClientUpdate, steps: float) -> ClientUpdate:
    return replace(reply, values={**reply.values, "steps": torch.full((1,), steps, dtype=torch.float64)})


def test_under_record_level_privacy_all_take_the_plans_steps_and_it_is_fedavg():
    found, expected = (
        simulate(
            TinyTask(model=linear), build_private_plan(algorithm={"name": name}, training={"precision": "float64"})
        )
        for name in ("fednova", "fedavg")
    )
    torch.testing.assert_close(flat(found.model), flat(expected.model), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"training": {"optimizer": "Adam"}}, "set training.optimizer to SGD"),
        ({"training": {"optimizer_options": {"momentum": 0.9}}}, "without optimizer-options"),
        (
            {"privacy": {"unit": "client", "noise_multiplier": 1.0}, "aggregation": {"rule": "uniform"}},
            "it sends update, steps, and the noise covers the update alone",
        ),
    ],
)
def test_it_is_refused_where_it_is_not_defined_or_the_noise_does_not_cover_it(sections, words):
    with pytest.raises(PlanError, match=words):
        Method.of(build_plan(algorithm={"name": "fednova"}, **sections))
