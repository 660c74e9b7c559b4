"""How long a call to the SuperLink is tried again."""

from __future__ import annotations

import httpx
from flwr.supercore.retry import RetryInvoker, exponential

_RETRIED = (httpx.TransportError, httpx.HTTPStatusError)
_RETRIED_STATUS = frozenset({429, 502, 503, 504})


def bounded_retry(seconds: float = 20.0) -> RetryInvoker:
    """Retries what may pass, for a while. Flower's own never ends, and kills its process on a 401."""
    return RetryInvoker(
        wait_gen_factory=lambda: exponential(base_delay=0.1, max_delay=2),
        recoverable_exceptions=_RETRIED,
        max_tries=None,
        max_time=seconds,
        should_giveup=_is_final,
    )


def _is_final(error: Exception) -> bool:
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code not in _RETRIED_STATUS
    return "certificate" in str(error).lower()
