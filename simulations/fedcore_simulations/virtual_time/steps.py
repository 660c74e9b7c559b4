"""Asynchronous steps in simulated time: the server steps once its algorithm's buffer is full.

Clients train all the time, ``federation.cohort-size`` at once, each from the model that it received when it was asked.
Events are handled in the order of simulated time; those of one instant in an order drawn by the seed. A client begins
at most once between two steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, groupby

from torch import Tensor

from fedcore.errors import TaskFailedError
from fedcore.messages import ClientUpdate, TrainRequest, UpdateBlock
from fedcore.method.method import Method
from fedcore.parameters import Parameters
from fedcore.plan import RunPlan
from fedcore.seeding import numpy_generator
from fedcore_server.rounds.federation import Federation
from fedcore_server.rounds.rounds import close_round, plan_round
from fedcore_server.rounds.state import Rejection, RoundReport, ServerState, Timing
from fedcore_simulations.virtual_time.devices import Devices
from fedcore_simulations.virtual_time.flight import Flight, Job
from fedcore_simulations.virtual_time.rounds import away, clock_of

_DROPOUT = "DROPOUT"


@dataclass(slots=True, kw_only=True)
class _Step:
    """A step that is not full yet.

    Attributes:
        jobs: Clients that train.
        done: Clients whose replies have come, or are lost, since the step before.
        draws: How often clients were chosen in it.
        waited: Seconds in which nobody was available.
    """

    clock: float
    jobs: list[Job]
    done: list[Job] = field(default_factory=list)
    draws: int = 0
    waited: float = 0.0

    @property
    def arrived(self) -> list[Job]:
        return [job for job in self.done if not job.answer.code]


class TimedSteps:
    """Steps of an asynchronous algorithm. Clients are trained when their replies come, and not where they are lost."""

    def __init__(self, plan: RunPlan, federation: Federation, devices: Devices) -> None:
        self._plan, self._federation, self._devices = plan, federation, devices
        self._algorithm = Method.of(plan).algorithm
        self._buffer = self._algorithm.buffer or 1
        self._concurrency = plan.federation.cohort_size or plan.federation.clients

    def __call__(self, state: ServerState) -> tuple[ServerState, RoundReport]:
        flight, before = Flight.of(state.part("flight")), clock_of(state)
        models = {**flight.models, state.round: state.parameters.buffer}
        step = self._filled(_Step(clock=before, jobs=list(flight.jobs)), state)
        request = self._request(step, state, models)
        lost = [
            Rejection(client=job.answer.client, code=job.answer.code, reason=job.answer.reason)
            for job in step.done
            if job.answer.code
        ]
        missing = [] if request.quorate else away(self._devices, step.clock)
        replies = chain(missing, lost, self._trained(step.arrived, request, models))
        after, report = close_round(state, self._plan, request, replies)
        spans = {job.answer.client: (job.answer.begin, job.answer.settled) for job in step.done}
        kept = {"clock": {"seconds": step.clock}, "flight": Flight(jobs=step.jobs, models=models).part()}
        return after.with_parts(**kept), replace(report, timing=Timing(begin=before, end=step.clock, spans=spans))

    def _filled(self, step: _Step, state: ServerState) -> _Step:
        """The step once its buffer is full, or nobody is left to fill it; it waits for a quorum, as long as it may."""
        while len(step.arrived) < self._buffer:
            step.jobs += self._started(step, state)
            if step.jobs:
                self._settle(step)
            elif len(step.arrived) >= self._plan.federation.quorum or not self._wait(step):
                break
        return step

    def _started(self, step: _Step, state: ServerState) -> list[Job]:
        """Ask as many idle clients as may train at once, with the newest model."""
        busy = {job.answer.client for job in (*step.jobs, *step.done)}
        idle = sorted(name for name in self._devices.available(step.clock) if name not in busy)
        free = self._concurrency - len(step.jobs)
        if free <= 0 or not idle:
            return []
        number = state.round + 1
        if free < len(idle):
            again = (step.draws,) if step.draws else ()  # the first draw of a step is that of a synchronous round
            generator = numpy_generator(self._plan.federation.seed, "cohort", number, state.attempt, *again)
            idle = sorted(idle[place] for place in generator.choice(len(idle), free, replace=False))
        step.draws += 1
        return [
            Job(
                answer=self._devices.answer(name, round=number, attempt=state.attempt, begin=step.clock),
                version=state.round,
                attempt=state.attempt,
            )
            for name in idle
        ]

    def _settle(self, step: _Step) -> None:
        """Move on to the next event, and take what comes at that time, until the buffer is full."""
        step.clock = min(job.answer.settled for job in step.jobs)
        now = sorted((job for job in step.jobs if job.answer.settled == step.clock), key=lambda job: job.answer.order)
        for job in now:
            if len(step.arrived) == self._buffer:
                return
            step.done.append(job)
            step.jobs.remove(job)

    def _wait(self, step: _Step) -> bool:
        """Wait for a client to come online; False where none does in time."""
        seconds = self._devices.next_online(step.clock) - step.clock
        patience = self._plan.federation.patience_seconds - step.waited
        if math.isinf(seconds):
            return False
        step.clock += min(seconds, patience)
        step.waited += min(seconds, patience)
        return seconds <= patience

    def _request(self, step: _Step, state: ServerState, models: Mapping[int, Tensor]) -> TrainRequest:
        """The request of the whole step, for closing it."""
        names = tuple(sorted(job.answer.client for job in step.done))
        stale = [job for job in step.arrived if job.version < state.round]
        return replace(
            plan_round(state, self._plan, names),
            cohort=names,
            quorate=bool(names),
            staleness={job.answer.client: state.round - job.version for job in stale},
            received={job.answer.client: models[job.version] for job in stale} if self._algorithm.from_present else {},
        )

    def _trained(
        self, jobs: Sequence[Job], request: TrainRequest, models: Mapping[int, Tensor]
    ) -> Iterator[ClientUpdate | UpdateBlock | Rejection]:
        """The replies, each trained from the model that its client received."""
        ordered = sorted(jobs, key=lambda job: (job.version, job.attempt, job.answer.client))
        for (version, attempt), group in groupby(ordered, key=lambda job: (job.version, job.attempt)):
            asked = replace(
                request,
                round=version + 1,
                attempt=attempt,
                cohort=tuple(job.answer.client for job in group),
                parameters=Parameters(models[version], request.parameters.layout),
                staleness={},
                received={},
            )
            yield from self._spared(asked, request)

    def _spared(self, asked: TrainRequest, request: TrainRequest) -> Iterator[ClientUpdate | UpdateBlock | Rejection]:
        """The replies of some clients of a step; where they all fail, as dropouts.

        Raises:
            TaskFailedError: No client has ever succeeded, and the step is not tried again: it is the task's fault.
        """
        silent = set(asked.cohort)
        try:
            for reply in self._federation.train(asked):
                silent.difference_update(reply.clients if isinstance(reply, UpdateBlock) else [reply.client])
                yield _of_round(reply, request.round)
        except TaskFailedError:
            if request.round == 1 and request.attempt + 1 >= self._plan.federation.round_attempts:
                raise
            why = "the task failed at all that were asked with it"
            yield from (Rejection(client=name, code=_DROPOUT, reason=why) for name in sorted(silent))


def _of_round(reply: ClientUpdate | UpdateBlock | Rejection, number: int) -> ClientUpdate | UpdateBlock | Rejection:
    """A reply as one of the step in which it is counted."""
    if isinstance(reply, ClientUpdate | UpdateBlock):
        return replace(reply, round=number)
    # A step of one update has no others that an end of the run would spare: its failure is a failed attempt at most.
    return replace(reply, code=_DROPOUT) if reply.refusal else reply
