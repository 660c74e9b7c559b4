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

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import torch

from fedcore.errors import UpdateRejectedError
from fedcore.messages import ClientUpdate, LedgerReceipt, TrainRequest
from fedcore.metrics import Metrics
from fedcore.mitigation.steering import Steering
from fedcore.parameters import Parameters
from fedcore.plan import RunPlan
from fedcore.privacy.central import CentralPrivacy
from fedcore.seeding import derive_seed
from fedcore.storage.large_vectors import put_aside
from fedcore.task import Task
from fedcore.transforms import UpdateTransform, apply_on_server
from fedcore_server.aggregation.means import Aggregator, FairMean, ShareMean, UniformMean, WeightedMean
from fedcore_server.aggregation.optimizers import apply_update
from fedcore_server.aggregation.private_mean import PrivateMean, server_randomness
from fedcore_server.rounds.cohort import choose_cohort, secret_cohort
from fedcore_server.rounds.gate import blanked, capped, check_update
from fedcore_server.rounds.norm_gate import Measured, NormGate
from fedcore_server.rounds.state import Rejection, RoundReport, ServerState


def init_state(task: Task, plan: RunPlan) -> ServerState:
    """The state before the first round: the task's model, initialised from the plan's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(plan.federation.seed, "model"))
        model = task.build_model()
    initial = Parameters.from_model(model, getattr(torch, plan.training.precision))
    return ServerState(round=0, parameters=Parameters(put_aside(initial.buffer), initial.layout))


def done(state: ServerState, plan: RunPlan) -> bool:
    """Whether all rounds of the plan are committed."""
    return state.round >= plan.federation.rounds


def clip_norm_of(privacy: CentralPrivacy, state: ServerState) -> float:
    """To which the next round's updates are clipped."""
    return privacy.clip_norm if state.clip_norm is None else state.clip_norm


def plan_round(state: ServerState, plan: RunPlan, available: Sequence[str]) -> TrainRequest:
    """Decide whom to ask in the next round, and with which model.

    Where the quorum is out of reach, nobody is asked: a client that is asked in vain is charged in vain.
    """
    cohort = _drawn(state, plan, available) if len(available) >= plan.federation.quorum else None
    quorate = cohort is not None and len(cohort) >= _needed(plan, cohort)
    return TrainRequest(
        round=state.round + 1,
        attempt=state.attempt,
        cohort=cohort if cohort and quorate else (),
        quorate=quorate,
        parameters=state.parameters,
        row_weights=state.steering.row_weights if state.steering else None,
    )


def _drawn(state: ServerState, plan: RunPlan, available: Sequence[str]) -> tuple[str, ...]:
    number, privacy = state.round + 1, CentralPrivacy.from_run_plan(plan)
    if privacy is not None and privacy.sampling_rate < 1.0:
        return secret_cohort(available, privacy, server_randomness(plan, privacy, "cohort", number, state.attempt))
    return choose_cohort(available, plan.federation, round=number, attempt=state.attempt)


def close_round(
    state: ServerState,
    plan: RunPlan,
    request: TrainRequest,
    updates: Iterable[ClientUpdate | Rejection],
    transforms: Sequence[UpdateTransform] = (),
) -> tuple[ServerState, RoundReport]:
    """Turn the replies to `request` into the next state.

    Updates are taken one at a time and dropped once added up. Malformed ones, and those of clients that
    already replied, are rejected, each by itself. Fewer valid updates than the plan's quorum fail the
    round: the model stays, and the next attempt asks anew.
    """
    privacy, aggregator, gate = CentralPrivacy.from_run_plan(plan), aggregator_of(plan, state), NormGate(plan, state)
    sums, metrics = aggregator.start(request.parameters), Metrics()
    counted: list[str] = []
    sizes: dict[str, int] = {}
    receipts: dict[str, LedgerReceipt] = {}
    rejected: list[Rejection] = []
    for update in gate.passed(_checked(updates, request, plan)):
        if isinstance(update, Rejection):
            rejected.append(update)
            continue
        sums = aggregator.accumulate(sums, update)
        metrics += update.metrics
        counted.append(update.client)
        if update.num_examples is not None:
            sizes[update.client] = update.num_examples
        if update.receipt is not None:
            receipts[update.client] = update.receipt
    committed = request.quorate and len(counted) >= _needed(plan, request.cohort)
    mean = apply_on_server(transforms, aggregator.finish(sums))
    told = privacy is None or privacy.sampling_rate == 1.0  # a cohort that amplifies must not be told
    report = RoundReport(
        round=request.round,
        attempt=request.attempt,
        asked=request.cohort if told else (),
        counted=tuple(counted) if told else (),
        rejected=tuple(rejected) if told else (),
        committed=committed,
        training={} if privacy else metrics.means(),  # under client-level privacy only what the noise covers
        update_norm=mean.norm(),
        num_examples={} if privacy else sizes,
        clip_norm=clip_norm_of(privacy, state) if privacy else None,
        receipts={} if privacy else receipts,
    )
    if not committed:
        unread = {each.client for each in rejected if not each.read_data}
        released = bool(counted) or not set(request.cohort) <= unread
        attempt, asked = state.attempt + 1, state.asked + released
        return replace(state, attempt=attempt, asked=asked, usual_norms=gate.usual_norms()), report
    parameters, moments = apply_update(state.parameters, mean, state.moments, plan.federation)
    average = _average(state, parameters, plan.federation.averaging)
    new = ServerState(
        round=request.round,
        asked=state.asked + 1,
        evaluated=state.evaluated,
        parameters=parameters,
        moments=moments,
        average=average,
        clip_norm=aggregator.next_clip_norm(sums) if isinstance(aggregator, PrivateMean) else None,
        steering=state.steering,
        choice=state.choice,
        usual_norms=gate.usual_norms(),
        first_loss=state.first_loss,
    )
    return new, report


def _average(state: ServerState, newest: Parameters, decay: float) -> Parameters | None:
    """Exponential moving average of the rounds' models, warmed up so that early rounds do not linger.

    Polyak and Juditsky 1992; after noisy steps it is free utility, being a function of what is released
    anyway (De et al. 2022, arXiv 2204.13650, section 3).
    """
    if decay == 0.0:
        return None
    if state.average is None:
        return newest.clone()
    kept = min(decay, (1 + state.round) / (10 + state.round))
    return state.average.clone().scale_(kept).add_(newest, scale=1.0 - kept)


def aggregator_of(plan: RunPlan, state: ServerState) -> Aggregator:
    """The plan's aggregator for the round after `state`."""
    privacy = CentralPrivacy.from_run_plan(plan)
    if privacy is not None:
        randomness = server_randomness(plan, privacy, state.round + 1, state.attempt)
        return PrivateMean(privacy, clip_norm_of(privacy, state), randomness)
    if state.steering and state.steering.clients:
        return _steered_mean(plan, state.steering)
    return UniformMean() if plan.federation.weighting == "uniform" else WeightedMean()


def _steered_mean(plan: RunPlan, steering: Steering) -> Aggregator:
    if plan.mitigation.method != "q-fedavg":
        return ShareMean(steering.clients)
    power = 0.1 if plan.mitigation.strength is None else plan.mitigation.strength
    private = plan.privacy.learning_rate if plan.privacy.unit != "none" else None
    return FairMean(steering.clients, power=power, learning_rate=private or plan.training.learning_rate)


def _needed(plan: RunPlan, cohort: Sequence[str]) -> int:
    """Valid updates needed. An empty Poisson cohort is a round like any other: its update is zero.

    Where the cohort is a secret every round with enough clients to draw from is committed: that one failed would tell
    how few were asked.
    """
    if plan.privacy.participation == "secret":
        return 0
    drawn_empty = not cohort and plan.federation.cohort_sampling == "poisson"
    return 0 if drawn_empty else plan.federation.quorum


def _checked(
    replies: Iterable[ClientUpdate | Rejection], request: TrainRequest, plan: RunPlan
) -> Iterator[Measured | Rejection]:
    """Each reply that may be counted with its norm, its weight capped; else why not."""
    seen: set[str] = set()
    for reply in replies:
        made = blanked(reply, request) if plan.privacy.unit == "client" else reply
        if isinstance(made, Rejection):
            yield made
        elif made.client in seen:
            yield Rejection(client=made.client, code="DUPLICATE", reason="this client has sent an update already")
        else:
            try:
                norm = check_update(made, request, plan)
            except UpdateRejectedError as error:
                yield Rejection(client=error.client, code=error.code, reason=str(error))
                continue
            seen.add(made.client)
            yield capped(made, plan), norm
