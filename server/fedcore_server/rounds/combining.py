"""From opened replies to what the rule combines."""

from __future__ import annotations

import torch
from torch import Tensor

from fedcore.aggregation.contract import Block, Combination
from fedcore.algorithms.contract import Algorithm, Contribution
from fedcore.messages import TrainRequest
from fedcore.method.method import Method
from fedcore.plan import RunPlan
from fedcore.privacy.central import CentralPrivacy
from fedcore_server.aggregation.private_mean import PrivateMean, server_randomness
from fedcore_server.rounds.gate import Opened
from fedcore_server.rounds.state import ServerState


def combination_of(method: Method, plan: RunPlan, state: ServerState) -> Combination:
    """The combination of the round after `state`: the rule's, or the private mean under unit `client`."""
    privacy, size, part = CentralPrivacy.from_run_plan(plan), state.parameters.layout.size, state.part("aggregation")
    if privacy is None:
        return method.rule.begin(method.algorithm.sizes_sent(size), part)
    randomness = server_randomness(plan, privacy, state.round + 1, state.attempt)
    return PrivateMean(privacy, method.rule, size, part, randomness)


def block_of(reply: Opened, request: TrainRequest, method: Method, plan: RunPlan, state: ServerState) -> Block:
    factors, divisors = _weights(reply, request, method, plan, state)
    vectors = _from_present(reply, request) if method.algorithm.from_present else reply.vectors
    return Block(vectors=vectors, factors=factors, divisors=divisors)


def _from_present(reply: Opened, request: TrainRequest) -> dict[str, Tensor]:
    """The updates as ways from the server's present model, in float64."""
    present, updates = request.parameters.buffer, reply.vectors["update"].to(torch.float64, copy=True)
    for row, client in enumerate(reply.clients):
        if client in request.received:
            updates[row] += request.received[client].to(torch.float64) - present
    return {**reply.vectors, "update": updates}


def _weights(
    reply: Opened, request: TrainRequest, method: Method, plan: RunPlan, state: ServerState
) -> tuple[Tensor, Tensor]:
    """Factors and divisors of the updates; float64, shape ``(k,)``."""
    algorithm, part = method.algorithm, state.part("algorithm")
    if not (algorithm.weighs_clients or method.rule.by_examples):
        return (torch.ones(len(reply.clients), dtype=torch.float64),) * 2
    if type(algorithm).weigh is Algorithm.weigh:  # the same, without an object for each client
        return (torch.tensor([size or 0 for size in reply.block.num_examples], dtype=torch.float64),) * 2
    contributions = (
        Contribution(
            client=client,
            round=state.round + 1,
            num_examples=size,
            norm=norm,
            staleness=request.staleness.get(client, 0),
        )
        for client, size, norm in zip(reply.clients, reply.block.num_examples, reply.norms["update"], strict=True)
    )
    weights = [algorithm.weigh(contribution, part, plan) for contribution in contributions]
    factors, divisors = torch.tensor(weights, dtype=torch.float64).unbind(1)
    return factors, divisors
