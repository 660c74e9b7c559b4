"""What privacy costs in accuracy, on real digits and on a thousand synthetic clients.

python -m pytest -m slow tests/acceptance -s
"""

import statistics

import pytest
import torch
from torch import nn

from fedcore.data.examples import Examples
from fedcore.tasks.digits import Digits
from fedcore_simulations.runner import simulate

SEEDS = range(5)
PUBLISHED = {1.0: 0.787, 2.0: 0.886, 4.0: 0.911, 8.0: 0.924}
"""Softmax regression in five silos, 20 rounds of 5 steps, q = 0.5; mean of five seeds of an independent program."""


class SoftmaxDigits(Digits):
    """Softmax regression on grey values from 0 to 1: 650 parameters."""

    def build_model(self):
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        nn.init.zeros_(model[1].weight)
        nn.init.zeros_(model[1].bias)
        return model

    def load_data(self, path):
        from sklearn.datasets import load_digits

        images, digits = load_digits(return_X_y=True)
        return Examples(
            columns={
                "inputs": torch.tensor(images / 16.0, dtype=torch.float32),
                "targets": torch.tensor(digits, dtype=torch.int64),
            }
        )


def five_silos(epsilon, seed):
    plan = {
        "federation": {"clients": 5, "rounds": 20, "partition": "iid", "evaluate-every": 20, "seed": seed},
        "training": {"device": "cpu"},
        "privacy": {
            "unit": "record",
            "epsilon": epsilon,
            "sampling-rate": 0.5,
            "steps-per-round": 5,
            "learning-rate": 1.5,
        },
        "engine": {"workers": 1},
    }
    return simulate(SoftmaxDigits(), plan).metrics["accuracy"]


@pytest.mark.slow
@pytest.mark.parametrize("epsilon", PUBLISHED)
def test_digits_in_five_silos_are_as_accurate_as_an_independent_program(epsilon):
    accuracy = statistics.mean(five_silos(epsilon, seed) for seed in SEEDS)
    print(f"ε = {epsilon:g}: {accuracy:.1%}, independent program {PUBLISHED[epsilon]:.1%}")
    assert accuracy >= PUBLISHED[epsilon] - 0.01


def thousand_clients(**privacy):
    plan = {
        "task": {"name": "synthetic", "options": {"clients": 1000, "iid": True, "beta": 0.0}},
        "federation": {
            "clients": 1000,
            "rounds": 20,
            "partition": "by:client",
            "evaluate-every": 20,
            "quorum": 900,
        },
        "aggregation": {"rule": "uniform"},
        "training": {"device": "cpu", "learning-rate": 0.3, "batch-size": 32, "local-epochs": 2},
        "privacy": privacy,
    }
    return simulate(None, plan).metrics["accuracy"]


@pytest.mark.slow
def test_a_thousand_clients_lose_three_points_at_most_to_client_level_privacy():
    bare = thousand_clients()
    private = thousand_clients(unit="client", epsilon=8.0, **{"clip-norm": 2.0})
    print(f"synthetic, 1,000 clients: {bare:.1%} without privacy, {private:.1%} at ε = 8 per client")
    assert private >= bare - 0.03
