"""How a committed round moves the model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fedcore.algorithms.contract import Cohort
from fedcore.method.method import Method
from fedcore.method.returned import stepped
from fedcore.parameters import Parameters, State, Tensors
from fedcore.plan import RunPlan
from fedcore.privacy.central import CentralPrivacy
from fedcore.storage.large_vectors import cached_slices, scratch
from fedcore_server.rounds.state import ServerState


def moved(
    state: ServerState, plan: RunPlan, method: Method, mean: Tensors, aggregation: State, *, counted: int
) -> ServerState:
    """The state after a committed round.

    Args:
        mean: What the rule made of the updates, float64.
        aggregation: The rule's next state.
        counted: Clients whose updates are in the mean.
    """
    layout = state.parameters.layout
    cohort = Cohort(counted=_public(counted, plan), clients=plan.federation.clients, trained=layout.num_trained)
    direction, algorithm = stepped(method.algorithm, mean, state.part("algorithm"), cohort, plan=plan, size=layout.size)
    step, optimizer = method.optimizer.step(direction, state.part("optimizer"))
    parameters = _stepped(state.parameters, step, plan.federation.server_learning_rate)
    after = ServerState(
        round=state.round + 1,
        asked=state.asked + 1,
        evaluated=state.evaluated,
        parameters=parameters,
        parts=state.parts,
    )
    average = _average(state, parameters, plan.federation.averaging)
    retried = {**state.part("retried"), **({str(after.round): state.attempt} if state.attempt else {})}
    return after.with_parts(
        algorithm=algorithm, optimizer=optimizer, aggregation=aggregation, average=average, retried=retried
    )


def _public(counted: int, plan: RunPlan) -> float:
    """Under unit `client` the public number of clients replaces the names counted, which depend on clients."""
    privacy = CentralPrivacy.from_run_plan(plan)
    return counted if privacy is None else privacy.cohort


def _stepped(parameters: Parameters, step: Tensor, learning_rate: float) -> Parameters:
    """The number type stays; computed in float64."""
    new = scratch(len(step), parameters.buffer.dtype)
    for after, before, move in cached_slices(new, parameters.buffer, step):
        after.copy_(before.to(torch.float64) + learning_rate * move)
    return Parameters(new, parameters.layout)


def _average(state: ServerState, newest: Parameters, decay: float) -> dict[str, Any]:
    """Exponential moving average of the rounds' models, warmed up so that early rounds do not linger.

    Polyak and Juditsky 1992. After noisy steps it costs no privacy, as a function of released models (De et al. 2022,
    arXiv 2204.13650, section 3).
    """
    if decay == 0.0:
        return {}
    before = state.part("average").get("parameters")
    if before is None:
        return {"parameters": newest.buffer.clone()}
    kept = min(decay, (1 + state.round) / (10 + state.round))
    return {"parameters": before.clone().mul_(kept).add_(newest.buffer, alpha=1.0 - kept)}
