"""The heart: a round is two pure functions.

::

    state = init_state(task, plan)
    while not done(state, plan):
        request = plan_round(state, plan, available_clients)
        updates = for_each_client(train_locally, request)
        state, report = close_round(state, plan, request, updates)

Neither knows a network, a clock or global randomness. Flower's driver and the simulator call the same two
(``fedcore_server.rounds.driver``), which is why a simulated result is evidence about a deployed one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce

import torch

from fedcore.messages import ClientUpdate, TrainRequest, UpdateBlock
from fedcore.method.method import Method
from fedcore.method.returned import finished
from fedcore.parameters import Parameters
from fedcore.plan import RunPlan
from fedcore.privacy.central import CentralPrivacy
from fedcore.seeding import derive_seed
from fedcore.storage.large_vectors import put_aside
from fedcore.task import Task
from fedcore_server.aggregation.private_mean import server_randomness
from fedcore_server.rounds.cohort import choose_cohort, secret_cohort
from fedcore_server.rounds.combining import block_of, combination_of
from fedcore_server.rounds.gate import opened_replies
from fedcore_server.rounds.moving import moved
from fedcore_server.rounds.norm_gate import NormGate
from fedcore_server.rounds.starting_weights import load_start
from fedcore_server.rounds.state import Rejection, RoundReport, ServerState
from fedcore_server.rounds.tally import Tally


def init_state(task: Task, plan: RunPlan) -> ServerState:
    """The state before round 1: random weights from the seed, or those in the plan's file.

    Raises:
        PlanError: The file does not fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(plan.federation.seed, "model"))
        model = task.build_model()
    load_start(model, plan)
    initial = Parameters.from_model(model, getattr(torch, plan.training.precision))
    state = ServerState(round=0, parameters=Parameters(put_aside(initial.buffer), initial.layout))
    return state.with_parts(algorithm=Method.of(plan).algorithm.start(initial.layout.size))


def done(state: ServerState, plan: RunPlan) -> bool:
    """Whether all rounds are run, or the plan's rule has ended the run before."""
    return state.round >= plan.federation.rounds or "why" in state.part("stop")


def plan_round(state: ServerState, plan: RunPlan, available: Sequence[str]) -> TrainRequest:
    """Choose the clients and the model of the next round.

    Where the quorum is out of reach, nobody is asked: that would charge clients in vain.
    """
    cohort = _drawn(state, plan, available) if len(available) >= plan.federation.quorum else None
    quorate = cohort is not None and len(cohort) >= _needed(plan, cohort)
    algorithm, remembered, dtype = Method.of(plan).algorithm, state.part("algorithm"), state.parameters.buffer.dtype
    return TrainRequest(
        round=state.round + 1,
        attempt=state.attempt,
        cohort=cohort if cohort and quorate else (),
        quorate=quorate,
        parameters=state.parameters,
        shared={name: remembered[name].to(dtype) for name in algorithm.shares},
        row_weights=algorithm.row_weights(remembered),
        retried={int(number): attempt for number, attempt in state.part("retried").items()},
    )


def close_round(
    state: ServerState, plan: RunPlan, request: TrainRequest, updates: Iterable[ClientUpdate | UpdateBlock | Rejection]
) -> tuple[ServerState, RoundReport]:
    """Turn the replies to `request` into the next state.

    Updates are taken one at a time, or in blocks, and dropped once added up. Malformed and repeated ones are rejected,
    each by itself. With fewer valid updates than the plan's quorum the round fails: the model stays, and the next
    attempt asks anew.

    Raises:
        TaskError: The algorithm or the rule does not return what it declares.
    """
    method, tally = Method.of(plan), Tally()
    gates = [NormGate(plan, state, vector) for vector in (*method.algorithm.sends, *method.algorithm.numbers)]
    combination = combination_of(method, plan, state)
    replies = opened_replies(updates, request, plan, method)
    for reply in reduce(lambda stream, gate: gate.passed(stream), gates, replies):
        tally.note(reply)
        if not isinstance(reply, Rejection):
            combination.add(block_of(reply, request, method, plan, state))
    mean, aggregation = finished(combination, method.algorithm, plan=plan, size=state.parameters.layout.size)
    committed = request.quorate and len(tally.counted) >= _needed(plan, request.cohort)
    report = tally.report(request, plan, state, committed=committed, mean=mean["update"])
    judged = state.with_parts(gate={key: kept for gate in gates for key, kept in gate.part().items()})
    if not committed:
        asked = state.asked + tally.released(request)
        return replace(judged, attempt=state.attempt + 1, asked=asked), report
    return moved(judged, plan, method, mean, aggregation, counted=len(tally.counted)), report


def _drawn(state: ServerState, plan: RunPlan, available: Sequence[str]) -> tuple[str, ...]:
    number, privacy = state.round + 1, CentralPrivacy.from_run_plan(plan)
    if privacy is not None and privacy.sampling_rate < 1.0:
        return secret_cohort(available, privacy, server_randomness(plan, privacy, "cohort", number, state.attempt))
    return choose_cohort(available, plan.federation, round=number, attempt=state.attempt)


def _needed(plan: RunPlan, cohort: Sequence[str]) -> int:
    """Valid updates needed. An empty Poisson cohort is a valid round with a zero update.

    Where the cohort is secret every round with enough clients to draw from is committed: a failed one would show how
    few were asked.
    """
    if plan.privacy.participation == "secret":
        return 0
    drawn_empty = not cohort and plan.federation.cohort_sampling == "poisson"
    return 0 if drawn_empty else plan.federation.quorum
