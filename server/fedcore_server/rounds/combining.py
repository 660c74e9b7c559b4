"""From opened replies to what the rule combines."""

from __future__ import annotations

import torch

from fedcore.aggregation.contract import Block, Combination
from fedcore.algorithms.contract import Contribution
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
        return method.rule.begin(dict.fromkeys(method.algorithm.sends, size), part)
    randomness = server_randomness(plan, privacy, state.round + 1, state.attempt)
    return PrivateMean(privacy, method.rule, size, part, randomness)


def block_of(reply: Opened, method: Method, plan: RunPlan, state: ServerState) -> Block:
    weights = torch.tensor(_weights(reply, method, plan, state), dtype=torch.float64)
    return Block(vectors=reply.vectors, factors=weights[:, 0], divisors=weights[:, 1])


def _weights(reply: Opened, method: Method, plan: RunPlan, state: ServerState) -> list[tuple[float, float]]:
    """Factor and divisor of each update."""
    algorithm, part = method.algorithm, state.part("algorithm")
    if not (algorithm.weighs_clients or method.rule.by_examples):
        return [(1.0, 1.0)] * len(reply.clients)
    contributions = (
        Contribution(client=client, round=state.round + 1, num_examples=size, norm=norm)
        for client, size, norm in zip(reply.clients, reply.block.num_examples, reply.norms["update"], strict=True)
    )
    return [algorithm.weigh(contribution, part, plan) for contribution in contributions]
