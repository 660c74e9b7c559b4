"""SCAFFOLD, against its paper and from one end of the project to the other."""

from __future__ import annotations

import pytest
import torch

from fedcore.errors import PlanError
from fedcore.method.method import Method
from fedcore_clients.training.local_model import LocalModel
from fedcore_server.rounds.rounds import close_round, init_state, plan_round
from fedcore_simulations import runner, simulate
from fedcore_simulations.engines.registry import build_engine
from fedcore_simulations.preparation import prepare
from tests.algorithms.by_hand import flat, gradient, linear
from tests.builders import TinyTask, build_plan

SYNTHETIC = {
    "task": {"name": "synthetic", "options": {"alpha": 1.0, "beta": 1.0}},
    "federation": {"clients": 10, "rounds": 10, "partition": "by:client", "evaluate-every": 10},
    "training": {"learning-rate": 0.01, "batch-size": 10, "local-epochs": 2, "device": "cpu"},
    "aggregation": {"rule": "uniform"},
    "engine": {"workers": 1},
}


def plan_of(**sections):
    training = {"batch_size": 1000, "local_epochs": 3, "learning_rate": 0.2, "precision": "float64"}
    federation = {"clients": 4, "rounds": 4, **sections.pop("federation", {})}
    aggregation = {"rule": "uniform"}
    algorithm = {"name": "scaffold"}
    engine = {"name": "loop", **sections.pop("engine", {})}
    return build_plan(
        engine=engine,
        training=training,
        federation=federation,
        aggregation=aggregation,
        algorithm=algorithm,
        **sections,
    )


def by_the_paper(model, clients, *, rounds, steps, rate):
    """Algorithm 1, option II, with all clients in each round."""
    control, own = torch.zeros_like(model), [torch.zeros_like(model) for _ in clients]
    for _ in range(rounds):
        moves, changes = [], []
        for index, rows in enumerate(clients):
            local = model.clone()
            for _ in range(steps):
                local -= rate * (gradient(local, rows) - own[index] + control)
            new = own[index] - control + (model - local) / (steps * rate)
            moves.append(local - model)
            changes.append(new - own[index])
            own[index] = new
        model = model + torch.stack(moves).mean(0)
        control = control + torch.stack(changes).mean(0)
    return model


def test_four_rounds_are_those_of_the_paper():
    task, plan = TinyTask(model=linear), plan_of()
    ready = prepare(task, plan)
    rows = [client.training for client in ready.clients]
    first = runner.init_state(task, ready.plan).parameters.buffer
    expected = by_the_paper(first, rows, rounds=4, steps=3, rate=0.2)
    torch.testing.assert_close(flat(simulate(task, plan).model), expected, rtol=0, atol=1e-12)


def test_two_workers_and_half_of_the_clients_give_the_same_bits():
    one, two = (
        simulate(TinyTask(), plan_of(federation={"cohort_size": 2}, engine={"workers": workers})) for workers in (1, 2)
    )
    assert torch.equal(flat(one.model), flat(two.model))


@pytest.mark.parametrize("torn", [False, True])
def test_a_run_that_is_killed_in_a_round_and_resumed_ends_in_the_same_model(tmp_path, monkeypatch, torn):
    """Torn: two clients of the third round have trained already, and remember it."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "linear_task.py").write_text(
        "from torch import nn\nfrom tests.builders import TinyTask\ntask = TinyTask(model=lambda: nn.Linear(4, 2))\n"
    )
    plan = plan_of(task={"name": "linear_task:task"})
    whole = simulate(plan=plan)
    stop_after(monkeypatch, 10 if torn else 8)
    with pytest.raises(KeyboardInterrupt):
        simulate(plan=plan, out=tmp_path / "run")
    monkeypatch.undo()
    monkeypatch.syspath_prepend(tmp_path)
    resumed = runner.resume(tmp_path / "run")
    assert torch.equal(flat(resumed.model), flat(whole.model))
    assert not (tmp_path / "run/checkpoint/memory").exists()


def stop_after(monkeypatch, trainings):
    from fedcore_simulations.engines import loop

    real, left = loop.train_locally, [trainings]

    def train(local, client, request):
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        return real(local, client, request)

    monkeypatch.setattr(loop, "train_locally", train)


def test_an_attempt_without_a_quorum_moves_no_control_variate(tmp_path):
    """With all controls zero at first, the server's stays the mean of the clients'."""
    ready = prepare(TinyTask(), plan_of(federation={"cohort_size": 2}))
    state = init_state(ready.task, ready.plan)
    with build_engine("loop", ready.task, ready.plan, ready.clients, ready.device, memory=tmp_path) as engine:
        for kept in (True, False, True, True):
            request = plan_round(state, ready.plan, engine.available())
            replies = list(engine.train(request))
            state, _ = close_round(state, ready.plan, request, replies if kept else [])
    asked = plan_round(state, ready.plan, [client.name for client in ready.clients])
    assert (state.round, asked.retried) == (3, {2: 1})
    memory = LocalModel(ready.task, ready.plan, ready.device, memory=tmp_path).memory
    own = [memory.recall(client.name, asked)["own_control"] for client in ready.clients]
    assert torch.allclose(torch.stack(own).mean(0), state.part("algorithm")["control"], atol=1e-12)


def test_on_synthetic_data_it_is_ahead_of_fedavg_after_ten_rounds():
    """As in section 7 of the paper: where clients differ. By loss, over seeds 0 to 2: 0.56 to 0.92 and alike."""
    scaffold, fedavg = (
        simulate(plan={**SYNTHETIC, "algorithm": {"name": name}}).metrics["loss"] for name in ("scaffold", "fedavg")
    )
    assert scaffold < 0.9 * fedavg


def test_it_is_refused_where_it_is_not_defined_or_the_noise_does_not_cover_it():
    with pytest.raises(PlanError, match="defined for plain SGD"):
        Method.of(build_plan(algorithm={"name": "scaffold"}, training={"optimizer": "Adam"}))
    client = {"unit": "client", "noise_multiplier": 1.0}
    plan = build_plan(algorithm={"name": "scaffold"}, privacy=client, aggregation={"rule": "uniform"})
    with pytest.raises(PlanError, match="control_change, and the noise covers the update alone"):
        Method.of(plan)
