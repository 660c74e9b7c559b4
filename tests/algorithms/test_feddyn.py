"""FedDyn, against its paper."""

from __future__ import annotations

import pytest
import torch

from fedcore.algorithms.contract import Cohort
from fedcore.algorithms.feddyn import FedDyn
from fedcore.errors import PlanError
from fedcore.method.method import Method
from fedcore_server.rounds.cohort import choose_cohort
from fedcore_server.rounds.rounds import init_state
from fedcore_simulations import simulate
from fedcore_simulations.preparation import prepare
from tests.algorithms.by_hand import batches, flat, gradient, linear
from tests.builders import TinyTask, build_plan

RATE, ROUNDS, ALPHA = 0.1, 4, 0.3


def plan_of(engine="loop", rule="mean"):
    return build_plan(
        training={"batch_size": 7, "local_epochs": 2, "learning_rate": RATE, "precision": "float64"},
        federation={"clients": 4, "cohort_size": 3, "rounds": ROUNDS, "partition": "dirichlet:0.5"},
        algorithm={"name": f"feddyn:{ALPHA}"},
        aggregation={"rule": rule},
        engine={"name": engine, "workers": 1},
    )


def by_the_paper(model, clients, plan):
    """Algorithm 1, with SGD on each client's regularised loss in the place of its minimum."""
    gradients = {client.name: torch.zeros_like(model) for client in clients}
    h = torch.zeros_like(model)
    for number in range(1, ROUNDS + 1):
        active = choose_cohort([client.name for client in clients], plan.federation, round=number, attempt=0)
        models = []
        for client in (client for client in clients if client.name in active):
            local = model.clone()
            for rows in batches(client, plan, number):
                loss_gradient = gradient(local, client.training, rows)
                local -= RATE * (loss_gradient - gradients[client.name] + ALPHA * (local - model))
            gradients[client.name] = gradients[client.name] - ALPHA * (local - model)
            models.append(local)
        h = h - ALPHA / len(clients) * torch.stack([local - model for local in models]).sum(0)
        model = torch.stack(models).mean(0) - h / ALPHA
    return model


@pytest.mark.parametrize("rule", ["mean", "uniform"])
@pytest.mark.parametrize("engine", ["loop", "batched"])
def test_four_rounds_of_unequal_clients_are_those_of_the_paper(engine, rule):
    task, plan = TinyTask(model=linear), plan_of(engine, rule)
    ready = prepare(task, plan)
    assert len({len(client.training) for client in ready.clients}) > 2
    expected = by_the_paper(init_state(task, ready.plan).parameters.buffer, ready.clients, ready.plan)
    torch.testing.assert_close(flat(simulate(task, plan).model), expected, rtol=0, atol=1e-12)


def test_buffers_that_no_gradient_moves_are_averaged():
    algorithm, state = FedDyn(0.5), FedDyn().start(3)
    mean = {"update": torch.ones(3, dtype=torch.float64)}
    for _ in range(2):
        direction, state = algorithm.step(mean, state, Cohort(counted=1, clients=2, trained=2))
    assert direction.tolist() == [2.0, 2.0, 1.0]


def test_noise_at_the_server_covers_all_that_a_client_sends():
    privacy = {"unit": "client", "noise_multiplier": 1.0}
    plan = build_plan(algorithm={"name": "feddyn"}, aggregation={"rule": "uniform"}, privacy=privacy)
    assert not [*Method.of(plan).exchange.refusals(plan)]


@pytest.mark.parametrize("alpha", [0, -0.1, float("inf"), float("nan")])
def test_an_alpha_out_of_range_is_refused(alpha):
    with pytest.raises(PlanError, match="alpha: expected a number above 0"):
        Method.of(build_plan(algorithm={"name": "feddyn", "options": {"alpha": alpha}}))
