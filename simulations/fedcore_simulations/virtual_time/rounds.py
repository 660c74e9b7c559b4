"""Synchronous rounds in simulated time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

from fedcore.plan import RunPlan
from fedcore_server.rounds.federation import Federation
from fedcore_server.rounds.rounds import close_round, plan_round
from fedcore_server.rounds.state import Rejection, RoundReport, ServerState, Timing
from fedcore_simulations.virtual_time.devices import Answer, Devices


class TimedRounds:
    """Rounds that last until the last client that counts has answered, at most ``round-timeout-seconds``.

    Who is late is known before anybody trains, so that no client is trained whose reply would not count.
    """

    def __init__(self, plan: RunPlan, federation: Federation, devices: Devices) -> None:
        self._plan, self._federation, self._devices = plan, federation, devices

    def __call__(self, state: ServerState) -> tuple[ServerState, RoundReport]:
        before = clock_of(state)
        begin = quorum_at(self._devices, self._plan, before)
        request = plan_round(state, self._plan, self._devices.available(begin))
        answers = [
            self._devices.answer(client, round=request.round, attempt=request.attempt, begin=begin)
            for client in request.cohort
        ]
        end, in_time = closed(answers, begin, self._plan)
        counted = {answer.client for answer in in_time}
        trained = replace(request, cohort=tuple(name for name in request.cohort if name in counted))
        missing: list[Rejection] = []
        if not request.quorate or self._plan.federation.cohort_size is None:
            missing = away(self._devices, begin)
        lost = (_rejected(answer, end) for answer in answers if answer.client not in counted)
        updates = self._federation.train(trained) if trained.cohort else iter(())
        after, report = close_round(state, self._plan, request, chain(missing, lost, updates))
        spans = {answer.client: (begin, min(answer.settled, end)) for answer in answers}
        timing = Timing(begin=before, end=end, spans=spans)
        return after.with_parts(clock={"seconds": end}), replace(report, timing=timing)


def clock_of(state: ServerState) -> float:
    """Seconds of simulated time since the run began."""
    return float(state.part("clock").get("seconds", 0.0))


def quorum_at(devices: Devices, plan: RunPlan, clock: float) -> float:
    """When a quorum of clients is available, or ``patience-seconds`` are over."""
    last = clock + plan.federation.patience_seconds
    while clock < last and len(devices.available(clock)) < plan.federation.quorum:
        clock = min(last, devices.next_online(clock))
    return clock


def away(devices: Devices, clock: float) -> list[Rejection]:
    """A rejection for each client that cannot be asked."""
    return [
        Rejection(client=name, code="ABSENT", reason="its device is not available", read_data=False)
        for name in sorted(devices.unavailable(clock))
    ]


def closed(answers: Sequence[Answer], begin: float, plan: RunPlan) -> tuple[float, list[Answer]]:
    """When a round ends, and the answers that have arrived by then.

    It ends with the last answer, or with the one that completes `wait-for`. Where too many are lost, it ends at the
    deadline.
    """
    arrivals = sorted(_arriving(answers), key=lambda answer: (answer.settled, answer.order))
    wanted = min(plan.devices.wait_for or len(answers), len(answers))
    if len(arrivals) >= wanted:
        in_time = arrivals[:wanted]
        return max((answer.settled for answer in in_time), default=begin), in_time
    return begin + plan.federation.round_timeout_seconds, arrivals


def _arriving(answers: Sequence[Answer]) -> Iterator[Answer]:
    return (answer for answer in answers if not answer.code)


def _rejected(answer: Answer, end: float) -> Rejection:
    if answer.code:
        return Rejection(client=answer.client, code=answer.code, reason=answer.reason)
    late = f"it would have answered {answer.settled - end:.4g} s after the round had ended with enough others"
    return Rejection(client=answer.client, code="LATE", reason=late)
