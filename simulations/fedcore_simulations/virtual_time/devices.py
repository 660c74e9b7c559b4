"""The device of every client, and when it answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedcore.plan import DeviceKind, RunPlan
from fedcore.seeding import numpy_generator
from fedcore_simulations.virtual_time.workload import Workload

_BITS, _MEGA, _GIGA = 8, 1e6, 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A client's answer to a request, known when it is asked.

    Attributes:
        begin: When it was asked.
        settled: When its reply arrives, or where it is lost the server stops waiting for it.
        code: Why it is lost, in one word; empty where its reply arrives.
        order: Who comes first of those that arrive at the same time; drawn by the seed.
    """

    client: str
    begin: float
    settled: float
    order: float
    code: str = ""
    reason: str = ""


class Devices:
    """Kinds of devices, dealt to the clients by the seed.

    Every number is a function of the plan and the names of clients and round: it depends on no engine and no machine.
    """

    def __init__(self, plan: RunPlan, names: Sequence[str], workload: Workload) -> None:
        self._plan, self._workload = plan, workload
        self._index = {name: index for index, name in enumerate(names)}
        self._names = np.array(names, dtype=object)
        kinds, seed = list(plan.devices.kinds.values()), plan.federation.seed
        dealt = np.repeat(np.arange(len(kinds)), dealt_counts([kind.share for kind in kinds], len(names)))
        self._kinds = [kinds[place] for place in numpy_generator(seed, "devices").permutation(dealt)]
        self._period = np.array([kind.period_seconds for kind in self._kinds])
        self._online = np.array([kind.available for kind in self._kinds])
        self._phase = numpy_generator(seed, "device phase").random(len(names))

    def available(self, clock: float) -> list[str]:
        """Names of the clients that can be asked at a time."""
        return list(self._names[self._place(clock) < self._online])

    def unavailable(self, clock: float) -> list[str]:
        return list(self._names[self._place(clock) >= self._online])

    def next_online(self, clock: float) -> float:
        """When the next client comes online that is not; infinite where all are."""
        place = self._place(clock)
        away = place >= self._online
        if not away.any():
            return math.inf
        return max(clock + float(((1.0 - place[away]) * self._period[away]).min()), math.nextafter(clock, math.inf))

    def answer(self, client: str, *, round: int, attempt: int, begin: float) -> Answer:
        """When a client that is asked at a time answers; at most ``round-timeout-seconds`` later, or it is lost."""
        index = self._index[client]
        kind, timeout = self._kinds[index], self._plan.federation.round_timeout_seconds
        generator = numpy_generator(self._plan.federation.seed, "device", round, attempt, client)
        drops, order = generator.random(2).tolist()
        seconds = self._seconds(kind, index, generator.standard_normal(2))
        answer = Answer(client=client, begin=begin, settled=begin + seconds, order=order)
        lost = replace(answer, settled=begin + timeout, code="DROPOUT")
        if drops < kind.dropout:
            return replace(lost, reason="its device dropped out")
        if seconds > timeout:
            why = f"it would have taken {seconds:.4g} s, and round-timeout-seconds is {timeout:g}"
            return replace(lost, code="LATE", reason=why)
        if seconds > self._seconds_online(index, begin):
            return replace(lost, reason="it went offline before it had answered")
        return answer

    def _seconds(self, kind: DeviceKind, index: int, draws: NDArray[np.float64]) -> float:
        """Download, training and upload."""
        training, transfers = (math.exp(kind.jitter * float(draw)) for draw in draws)
        work = self._workload
        down = _BITS * work.bytes_down / (_MEGA * kind.downlink_megabits_per_second)
        up = _BITS * work.bytes_up / (_MEGA * kind.uplink_megabits_per_second)
        moved = 2 * kind.latency_seconds + down + up
        return transfers * moved + training * work.flops[index] / (_GIGA * kind.gigaflops)

    def _place(self, clock: float) -> NDArray[np.float64]:
        """Where in its period each client is, in [0, 1); it is online in the first part."""
        place: NDArray[np.float64] = (clock / self._period + self._phase) % 1.0
        return place

    def _seconds_online(self, index: int, clock: float) -> float:
        if self._online[index] >= 1.0:
            return math.inf
        place = (clock / self._period[index] + self._phase[index]) % 1.0
        return float((self._online[index] - place) * self._period[index])


def dealt_counts(shares: Sequence[float], clients: int) -> list[int]:
    """How many clients each share has: exact up to rounding, by largest remainders (Hamilton's method)."""
    exact = [clients * share / sum(shares) for share in shares]
    counts = [math.floor(each) for each in exact]
    by_remainder = sorted(range(len(shares)), key=lambda place: (counts[place] - exact[place], place))
    for place in by_remainder[: clients - sum(counts)]:
        counts[place] += 1
    return counts
