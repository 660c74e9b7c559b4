"""A logistic regression by hand, in which papers' pseudo-code is transcribed."""

from __future__ import annotations

import torch
from torch import nn

from fedcore.data.shuffles import shuffled
from fedcore.seeding import derive_seed


def linear():
    return nn.Linear(4, 2)


def flat(model):
    return torch.cat([tensor.flatten() for tensor in model.state_dict().values()])


def gradient(weights, rows, which=slice(None)):
    """Of the mean logistic loss of a linear model; `weights` as in the model's buffer."""
    inputs, targets = rows.columns["inputs"].double()[which], rows.columns["targets"][which]
    scores = inputs @ weights[:8].view(2, 4).T + weights[8:]
    errors = torch.softmax(scores, 1) - nn.functional.one_hot(targets, 2)
    return torch.cat([(errors.T @ inputs / len(inputs)).flatten(), errors.mean(0)])


def batches(client, plan, round):
    """The rows of each local step of a client in a round."""
    seed = derive_seed(plan.federation.seed, "order", round, 0, client.name)
    orders = shuffled([seed], [len(client.training)], epochs=plan.training.local_epochs)[0]
    return [rows for order in torch.from_numpy(orders) for rows in order.split(plan.training.batch_size)]
