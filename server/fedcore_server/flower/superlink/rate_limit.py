"""Token buckets, one for each peer."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

_LONGEST_TABLE = 4096


class RateLimit:
    """Allows each peer `per_second` on average, and `burst` at once.

    The table is bounded: the peer not seen for longest is dropped.
    """

    def __init__(self, per_second: float, burst: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second, self._burst, self._clock = per_second, burst, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, peer: str) -> bool:
        return self._tokens(peer) >= 1.0

    def count(self, peer: str) -> None:
        tokens = self._tokens(peer) - 1.0
        self._buckets.pop(peer, None)
        self._buckets[peer] = (max(tokens, 0.0), self._clock())
        if len(self._buckets) > _LONGEST_TABLE:
            self._buckets.popitem(last=False)

    def _tokens(self, peer: str) -> float:
        if peer not in self._buckets:
            return float(self._burst)
        tokens, then = self._buckets[peer]
        return min(float(self._burst), tokens + (self._clock() - then) * self._per_second)

    def __len__(self) -> int:
        return len(self._buckets)


def network_of(peer: str) -> str:
    """The key to count by: IPv6 peers by their /64, since a peer may choose any address in it."""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return peer
    if address.version == 4:
        return peer
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address), 64), strict=False))
