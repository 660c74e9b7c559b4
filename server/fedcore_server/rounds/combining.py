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
    factor, divisor = _weight(reply, method, plan, state)
    return Block(
        vectors={name: vector.unsqueeze(0) for name, vector in reply.vectors.items()},
        factors=torch.tensor([factor], dtype=torch.float64),
        divisors=torch.tensor([divisor], dtype=torch.float64),
    )


def _weight(reply: Opened, method: Method, plan: RunPlan, state: ServerState) -> tuple[float, float]:
    algorithm, examples = method.algorithm, reply.update.num_examples
    if not (algorithm.weighs_clients or method.rule.by_examples):
        return 1.0, 1.0
    contribution = Contribution(client=reply.client, num_examples=examples, norm=reply.norm)
    return algorithm.weigh(contribution, state.part("algorithm"), plan)
