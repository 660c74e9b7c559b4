"""The gate for norms: an update far longer than usual is rejected."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from fedcore.plan import RunPlan
from fedcore.storage.large_vectors import put_aside
from fedcore_server.rounds.gate import Opened
from fedcore_server.rounds.state import Rejection, ServerState

TIMES = 100.0
"""Largest ratio of an update's norm to the usual one."""

ABSURD = 1e9
"""Largest norm of an update in any case."""

_FEWEST = 3
"""Of two norms neither is the usual one."""

_ENOUGH, _FIRST_BYTES = 25, 2**30


class NormGate:
    """Rejects updates of one round that are longer than the plan's `max_update_norm`; one gate for each vector sent.

    Where the plan gives none, the limit follows the run: `TIMES` the median over clients of the norm of each one's
    newest earlier update, and at most `ABSURD`. Rejected updates and failed attempts count in the median too, so that
    it follows the majority, and each client has one vote however often it takes part. It is taken over the newest
    rounds that have `_ENOUGH` clients among them. Norms of zero have no vote: a client without anything to learn is no
    evidence about others. With fewer than `_FEWEST` votes the only limit is `ABSURD`.

    While there are fewer votes, the round's own first updates vote as well: they are set aside until `_ENOUGH` are
    there (fewer where they are large), or all. Only norms of updates are used, so that under record-level privacy this
    is post-processing.

    Guarantee:
        Under unit `client` nothing is rejected: clipping bounds every update, and a limit that depends on others'
        updates would let one client decide whether another is counted, which moves the sum by more than its own clip
        norm. No norm is kept then, either.
    """

    def __init__(self, plan: RunPlan, state: ServerState, vector: str = "update") -> None:
        given = plan.federation.max_update_norm if vector == "update" else None
        self._fixed = math.inf if plan.privacy.unit == "client" else given
        self._vector, self._key = vector, "usual_norms" if vector == "update" else f"usual_norms of {vector}"
        self._before = tuple(state.part("gate").get(self._key, ()))
        self._received: dict[str, float] = {}
        self._limit = self._fixed if self._fixed is not None else self._voted()

    def passed(self, replies: Iterable[Opened | Rejection]) -> Iterator[Opened | Rejection]:
        """The replies, with a rejection in place of those too long; a run's first ones are delayed."""
        aside: list[Opened] = []
        for reply in (part for each in replies for part in self._small(each)):
            if isinstance(reply, Rejection):
                yield reply
                continue
            norms = dict(zip(reply.clients, reply.norms[self._vector], strict=True))
            self._received |= {client: norm for client, norm in norms.items() if 0.0 < norm <= ABSURD}
            if self._limit is not None or max(norms.values()) > ABSURD:
                yield from self._judged(reply)
                continue
            aside.append(_put_aside(reply))
            if len(aside) >= _most_aside(reply):
                self._limit = self._voted() or ABSURD
                yield from self._emptied(aside)
        self._limit = self._limit or self._voted()
        yield from self._emptied(aside)

    def part(self) -> dict[str, list[Mapping[str, float]]]:
        """The votes to keep once the round is closed, committed or not."""
        kept = [] if self._fixed is not None else _newest(self._before, self._received)
        return {self._key: kept} if kept else {}

    def _voted(self) -> float | None:
        votes = {client: norm for each in (*self._before, self._received) for client, norm in each.items()}
        return min(ABSURD, TIMES * _median(votes.values())) if len(votes) >= _FEWEST else None

    def _small(self, reply: Opened | Rejection) -> Iterator[Opened | Rejection]:
        """Single updates as long as they may be put aside."""
        if isinstance(reply, Rejection) or self._limit is not None or len(reply.clients) == 1:
            yield reply
        else:
            yield from (reply.rows([row]) for row in range(len(reply.clients)))

    def _emptied(self, aside: list[Opened]) -> Iterator[Opened | Rejection]:
        while aside:
            yield from self._judged(aside.pop(0))

    def _judged(self, reply: Opened) -> Iterator[Opened | Rejection]:
        limit, norms = ABSURD if self._limit is None else self._limit, reply.norms[self._vector]
        usual = "the largest possible" if limit == ABSURD else f"{TIMES:g} times the usual norm"
        where = "federation.max-update-norm" if self._fixed is not None else usual
        for client, norm in zip(reply.clients, norms, strict=True):
            if norm > limit:
                reason = f"the norm of {self._vector} is {norm:.3g}, and the limit ({where}) {limit:.3g}"
                yield Rejection(client=client, code="NORM", reason=reason)
        yield from reply.only([norm <= limit for norm in norms])


def _newest(before: Iterable[Mapping[str, float]], received: Mapping[str, float]) -> list[Mapping[str, float]]:
    """The newest rounds that have `_ENOUGH` clients among them, each client in its last one.

    Whole rounds: otherwise the clients that answer last in one would weigh more.
    """
    older = ({client: norm for client, norm in each.items() if client not in received} for each in before)
    rounds = [each for each in (*older, received) if each]
    while sum(len(each) for each in rounds[1:]) >= _ENOUGH:
        del rounds[0]
    return rounds


def _median(norms: Collection[float]) -> float:
    """The median by order of magnitude: of an even number, the geometric mean of the middle two.

    Where two of four are tiny or huge, neither pair decides alone.
    """
    low, high = statistics.median_low(norms), statistics.median_high(norms)
    return low if low == high else math.sqrt(low) * math.sqrt(high)


def _put_aside(reply: Opened) -> Opened:
    """A copy of a single update that stays valid when the next is taken."""
    return replace(reply, vectors={name: put_aside(rows[0]).unsqueeze(0) for name, rows in reply.vectors.items()})


def _most_aside(reply: Opened) -> int:
    num_bytes = sum(rows.numel() * rows.element_size() for rows in reply.vectors.values())
    return max(_FEWEST, min(_ENOUGH, _FIRST_BYTES // max(num_bytes, 1)))
