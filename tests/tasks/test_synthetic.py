"""The reference task ``synthetic`` against the FedProx paper's description (arXiv 1812.06127, appendix C.1)."""

import time

import numpy as np
import pytest
import torch
from torch.nn import functional

from fedcore.errors import PlanError
from fedcore.plan import RunPlan
from fedcore.tasks.registry import load_task
from fedcore.tasks.synthetic import Synthetic
from fedcore.testing.task import TaskContract
from fedcore_simulations import simulate


class TestSyntheticKeepsTheContract(TaskContract):
    def make_task(self):
        return Synthetic(clients=5)


def rows_of_clients(task):
    return [task.client_data(number) for number in range(task.clients)]


def centers(task):
    return np.stack([data.features.mean(axis=0) for data in rows_of_clients(task)])


def test_variances_of_features_fall_as_their_number_to_the_power_of_minus_1_2():
    """Pooled over 2e5 rows, the ratio to the expected variance has a standard error of 0.3 %."""
    data = rows_of_clients(Synthetic(clients=400))
    within = sum(((part.features - part.features.mean(axis=0)) ** 2).sum(axis=0) for part in data)
    variances = within / sum(len(part.classes) - 1 for part in data)
    assert np.allclose(variances / np.arange(1, 61) ** -1.2, 1.0, atol=0.03)


def test_centers_of_inputs_spread_by_one_within_a_client_and_by_beta_between_clients():
    """Var(v_k,j) = 1 + β²; the mean over features of v_k has variance β² + 1/60. 600 clients: 6 % standard error."""
    spread = centers(Synthetic(clients=600, beta=2.0))
    assert abs(spread.mean(axis=1).var() - (4 + 1 / 60)) < 4 * 0.06 * 4
    assert abs(spread.var(axis=1).mean() - 59 / 60) < 0.05
    assert abs(centers(Synthetic(clients=600, beta=0.0)).mean(axis=1).var() - 1 / 60) < 0.01


def test_sizes_are_log_normal_and_at_least_fifty():
    """The median of 50 + exp(N(4, 2)) is 50 + e^4 = 104.6; log-sizes of 1000 clients have a standard error of 0.06."""
    sizes = np.array([len(data.classes) for data in rows_of_clients(Synthetic(clients=1000))])
    assert sizes.min() >= 50
    logs = np.log(sizes - 50 + 0.5)
    assert abs(np.median(logs) - 4.0) < 0.35
    assert abs(np.quantile(logs, 0.84) - 6.0) < 0.5


def test_labels_are_the_likeliest_class_of_each_clients_own_linear_model():
    """A client's own rows are almost linearly separable, another client's model says little about them."""
    data = [part for part in rows_of_clients(Synthetic(clients=12)) if len(part.classes) > 100]
    weights = [np.linalg.lstsq(_with_one(part.features), np.eye(10)[part.classes], rcond=None)[0] for part in data]

    def accuracy(weight, part):
        return np.mean((_with_one(part.features) @ weight).argmax(axis=1) == part.classes)

    own = [accuracy(weight, part) for weight, part in zip(weights, data, strict=True)]
    others = [accuracy(weight, part) for weight, part in zip(weights, data[1:] + data[:1], strict=True)]
    assert np.mean(own) > 0.7
    assert np.mean(others) < 0.5


def test_averaging_gets_worse_as_alpha_and_beta_grow():
    """Means of five seeds: 0.53, 0.36 and 0.14; every seed keeps the order."""
    accuracies = [
        np.mean([_federated_averaging(Synthetic(clients=60, alpha=a, beta=a, seed=seed)) for seed in range(3)])
        for a in (0.0, 1.0, 3.0)
    ]
    assert accuracies[0] > accuracies[1] + 0.05
    assert accuracies[1] > accuracies[2] + 0.05


def test_without_heterogeneity_every_client_has_the_same_model_and_center():
    task = Synthetic(clients=40, alpha=0.0, beta=0.0, iid=True)
    assert np.abs(centers(task)).max() < 1.0
    pooled = task.load_data(None).columns
    fitted = np.linalg.lstsq(_with_one(pooled["inputs"].numpy()), np.eye(10)[pooled["targets"].numpy()], rcond=None)[0]
    alone = [
        np.mean((_with_one(part.features) @ fitted).argmax(axis=1) == part.classes) for part in rows_of_clients(task)
    ]
    assert min(alone) > 0.6


def test_more_clients_leave_the_rows_of_the_others_as_they_are():
    few, many = Synthetic(clients=3, seed=4).load_data(None), Synthetic(clients=200, seed=4).load_data(None)
    assert torch.equal(many.columns["inputs"][: len(few)], few.columns["inputs"])
    other = Synthetic(clients=3, seed=5).load_data(None)
    assert not torch.equal(other.columns["inputs"][:50], few.columns["inputs"][:50])


def test_the_rows_are_those_of_each_client_one_after_the_other():
    task = Synthetic(clients=7, seed=2)
    data, parts = task.load_data(None), rows_of_clients(task)
    assert np.array_equal(data.columns["targets"].numpy(), np.concatenate([part.classes for part in parts]))
    expected = np.concatenate([part.features for part in parts]).astype(np.float32)
    assert np.array_equal(data.columns["inputs"].numpy(), expected)
    sizes = np.bincount(data.attributes["client"].codes.numpy())
    assert sizes.tolist() == [len(part.classes) for part in parts]


def test_a_thousand_clients_are_made_in_seconds():
    started = time.perf_counter()
    assert len(Synthetic(clients=1000).load_data(None)) > 100_000
    assert time.perf_counter() - started < 15


def test_a_plan_decides_the_number_of_clients_and_makes_each_a_client():
    plan = RunPlan.from_mapping(
        {
            "task": {"name": "synthetic", "options": {"beta": 0.5}},
            "federation": {"clients": 6, "rounds": 1, "seed": 3, "partition": "by:client"},
            "training": {"learning-rate": 0.01},
        }
    )
    task = load_task(plan)
    assert (task.clients, task.seed, task.beta) == (6, 3, 0.5)
    result = simulate(None, plan)
    assert result.plan.federation.clients == 6
    assert result.results.split["clients"] == [f"client-{number}" for number in range(6)]


def test_every_wrong_option_is_named():
    with pytest.raises(PlanError) as caught:
        Synthetic(alpha=-1, beta=float("nan"), clients=0, seed=-2, iid="yes")
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        f"task.options.{name}" for name in ("alpha", "beta", "clients", "seed", "iid")
    ]


def _with_one(features):
    return np.column_stack([features, np.ones(len(features))])


def _federated_averaging(task, *, rounds=3, steps=50, learning_rate=0.1):
    """FedAvg on 40 rows of each client, all clients in one tensor operation; accuracy on 10 other rows of each."""
    data = rows_of_clients(task)
    inputs = torch.tensor(np.stack([_with_one(part.features[:50]) for part in data]), dtype=torch.float32)
    classes = torch.tensor(np.stack([part.classes[:50] for part in data]))
    wanted = functional.one_hot(classes, 10).float()
    shared = torch.zeros(61, 10)
    for _ in range(rounds):
        local = shared.expand(len(data), 61, 10).clone()
        for _ in range(steps):
            errors = torch.softmax(inputs[:, :40] @ local, dim=2) - wanted[:, :40]
            local -= learning_rate * inputs[:, :40].transpose(1, 2) @ errors / 40
        shared = local.mean(dim=0)
    return float(((inputs[:, 40:] @ shared).argmax(dim=2) == classes[:, 40:]).float().mean())
