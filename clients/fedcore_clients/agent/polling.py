"""When a client asks the server next: the more clients there are, the less often each of them asks."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

_FIRST_SECONDS = 0.05
_LONGEST_IN_RUN_SECONDS = 1.0
_LONGEST_IDLE_SECONDS = 3.0
_RUN_SECONDS = 120.0
_QUESTIONS_PER_SECOND = 20.0
_JITTER = 0.25


class Polling:
    """Pauses between two polls for a request.

    They double from 50 ms to one second while a run is on, that is until two minutes after its last request, and to
    three seconds otherwise. With more than twenty members of the consortium they grow with their number, so that all
    together poll about twenty times a second: a server answers some hundred requests a second, and a round takes about
    twenty of each client. The excess of an answer's time over the shortest one is the server's work, not the network's:
    ten times that is the shortest pause. Pauses vary by a quarter, so that clients which start together do not poll
    together.

    Args:
        members: How many clients the server has, as far as is known here.
        clock: Seconds.
        jitter: A random number between its two arguments.
    """

    def __init__(
        self,
        members: Callable[[], int],
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._members, self._clock, self._jitter = members, clock, jitter
        self._doublings = 0
        self._last_request = -_RUN_SECONDS
        self._shortest_answer = float("inf")

    def found(self) -> None:
        """There was a request: the next one may follow at once."""
        self._doublings, self._last_request = 0, self._clock()

    def pause(self, answer_seconds: float) -> float:
        """Seconds to wait after an answer without a request that took `answer_seconds`."""
        crowd = max(1.0, self._members() / _QUESTIONS_PER_SECOND)
        in_run = self._clock() - self._last_request < _RUN_SECONDS
        longest_idle = max(_LONGEST_IDLE_SECONDS, crowd)
        longest = crowd * _LONGEST_IN_RUN_SECONDS if in_run else longest_idle
        pause = min(crowd * _FIRST_SECONDS * 2.0**self._doublings, longest)
        self._doublings = min(self._doublings + 1, 10)
        self._shortest_answer = min(answer_seconds, self._shortest_answer)
        slowed = min(10.0 * (answer_seconds - self._shortest_answer), longest_idle)
        return max(pause, slowed) * self._jitter(1.0 - _JITTER, 1.0 + _JITTER)


def spread(seconds: float) -> float:
    """A random pause with this mean, between a half and one and a half of it: after a restart all clients come back."""
    return seconds * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
