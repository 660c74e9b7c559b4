"""When a client asks the server next: a server that is slow is asked less."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

_FIRST_SECONDS = 0.05
_LONGEST_IN_RUN_SECONDS = 1.0
_LONGEST_IDLE_SECONDS = 6.0
_LONGEST_SECONDS = 15.0
_RUN_SECONDS = 120.0
_SHARE = 0.1
_JITTER = 0.25


class Polling:
    """Pauses between two questions whether there is a request.

    They double from 50 ms to one second while a run is on, that is until two minutes after its last request, and to
    six seconds when none is. No pause is shorter than ten times what the last answer took, up to 15 s: many clients
    ask together no more than a server can answer. Pauses vary by a quarter, so that clients which start together do
    not ask together.

    Args:
        clock: Seconds.
        jitter: A random number between its two arguments.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._clock, self._jitter = clock, jitter
        self._pause = _FIRST_SECONDS
        self._last_request = -_RUN_SECONDS

    def found(self) -> None:
        """There was a request: the next one may follow at once."""
        self._pause, self._last_request = _FIRST_SECONDS, self._clock()

    def pause(self, answer_seconds: float) -> float:
        """Seconds to wait after an answer that there is none, which took so long to come."""
        in_run = self._clock() - self._last_request < _RUN_SECONDS
        pause = max(self._pause, min(answer_seconds / _SHARE, _LONGEST_SECONDS))
        self._pause = min(2 * self._pause, _LONGEST_IN_RUN_SECONDS if in_run else _LONGEST_IDLE_SECONDS)
        return pause * self._jitter(1 - _JITTER, 1 + _JITTER)


def spread(seconds: float) -> float:
    """A pause of that length on average, between a half and one and a half: after a restart all clients come back."""
    return seconds * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
