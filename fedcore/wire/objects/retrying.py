"""How long calls to the SuperLink are retried."""

from __future__ import annotations

from collections.abc import Callable

import httpx
from flwr.supercore.retry import RetryInvoker, exponential

_RETRIED = (httpx.TransportError, httpx.HTTPStatusError)
_RETRIED_STATUS = frozenset({429, 502, 503, 504})


def bounded_retry(
    seconds: float = 20.0,
    *,
    stopping: Callable[[], bool] = lambda: False,
    passing: frozenset[int] = frozenset(),
    on_first: Callable[[], None] = lambda: None,
) -> RetryInvoker:
    """Retry temporary failures for a while. Flower's own never ends, and kills its process on a 401.

    Args:
        stopping: Whether the process is about to end, so that another try is pointless.
        passing: Temporary statuses, besides those of a server under load.
        on_first: Called when the first try of a call has failed.
    """
    return RetryInvoker(
        wait_gen_factory=lambda: exponential(base_delay=0.1, max_delay=2),
        recoverable_exceptions=_RETRIED,
        max_tries=None,
        max_time=seconds,
        should_giveup=lambda error: stopping() or _is_final(error, passing),
        on_backoff=lambda state: on_first() if state.tries == 1 else None,
    )


def _is_final(error: Exception, passing: frozenset[int]) -> bool:
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code not in _RETRIED_STATUS | passing
    return "certificate" in str(error).lower()
