"""Token buckets for refusals, one for each peer."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

_LONGEST_TABLE = 4096


class RateLimit:
    """Lets each peer be refused `per_second` times on average and `burst` times at once; then it is not heard.

    Members of a consortium are not limited, however many share an address: only what was refused counts.

    The table is bounded: the peer not heard of for longest is forgotten. IPv6 peers count by their /64, which is
    what one of them is given to choose its addresses from.
    """

    def __init__(self, per_second: float, burst: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second, self._burst, self._clock = per_second, burst, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, peer: str) -> bool:
        """Whether this peer is heard."""
        return self._tokens(_network(peer)) >= 1.0

    def refused(self, peer: str) -> None:
        """Count a refusal."""
        key = _network(peer)
        tokens = self._tokens(key) - 1.0
        self._buckets.pop(key, None)
        self._buckets[key] = (max(tokens, 0.0), self._clock())
        if len(self._buckets) > _LONGEST_TABLE:
            self._buckets.popitem(last=False)

    def _tokens(self, key: str) -> float:
        if key not in self._buckets:
            return float(self._burst)
        tokens, then = self._buckets[key]
        return min(float(self._burst), tokens + (self._clock() - then) * self._per_second)

    def __len__(self) -> int:
        return len(self._buckets)


def _network(peer: str) -> str:
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return peer
    if address.version == 4:
        return peer
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address), 64), strict=False))
