"""The gate for lengths: an update far longer than usual is not counted."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from fedcore.large_vectors import put_aside
from fedcore.messages import ClientUpdate
from fedcore.parameters import Parameters
from fedcore.plan import RunPlan
from fedcore_server.state import Rejection, ServerState

TIMES = 100.0
"""By how much an update may be longer than usual."""

_ABSURD = 1e9
_ROUNDS = 100
_FIRST, _FEWEST, _FIRST_BYTES = 25, 3, 2**30

Measured = tuple[ClientUpdate, float]
"""An update with its Euclidean norm."""


class NormGate:
    """Rejects updates of one round that are longer than the plan's `max_update_norm`.

    Where the plan gives none, the limit follows the run: `TIMES` the median norm of the updates counted so far, and at
    most 1e9. In the first round the median is that of the round's own first updates, which are put aside until 25 are
    there, or all. Nothing but norms of updates goes in, so that under record-level privacy this is post-processing.

    Guarantee:
        Under unit `client` nothing is rejected: clipping bounds every update, and a limit that depends on others'
        updates would let one client decide whether another is counted, which moves the sum by more than its own clip
        norm. No norm is kept then, either.
    """

    def __init__(self, plan: RunPlan, state: ServerState) -> None:
        self._fixed = math.inf if plan.privacy.unit == "client" else plan.federation.max_update_norm
        self._before = state.usual_norms
        self._usual = None if self._fixed is not None else _usual(self._before)
        self._counted: list[float] = []

    def passed(self, replies: Iterable[Measured | Rejection]) -> Iterator[ClientUpdate | Rejection]:
        """The replies, with a rejection in place of what is too long; a run's first ones later than they came."""
        aside: list[Measured] = []
        for reply in replies:
            if isinstance(reply, Rejection):
                yield reply
            elif self._fixed is not None or self._usual is not None or reply[1] > _ABSURD:
                yield self._judged(*reply)
            else:
                aside.append(_put_aside(*reply))
                if len(aside) >= _most_aside(aside[0][0]):
                    self._usual = _median(norm for _, norm in aside)
                    yield from self._emptied(aside)
        self._usual = _median(norm for _, norm in aside) if aside else self._usual
        yield from self._emptied(aside)

    def usual_norms(self) -> tuple[float, ...]:
        """The norms to keep once the round is committed: the median of every round so far."""
        if self._fixed is not None:
            return ()
        newest = _median(self._counted)
        return (*self._before, *(() if newest is None else (newest,)))[-_ROUNDS:]

    def _emptied(self, aside: list[Measured]) -> Iterator[ClientUpdate | Rejection]:
        while aside:
            yield self._judged(*aside.pop(0))

    def _judged(self, update: ClientUpdate, norm: float) -> ClientUpdate | Rejection:
        limit = self._fixed if self._fixed is not None else min(_ABSURD, TIMES * (self._usual or math.inf))
        if norm <= limit:
            self._counted.append(norm)
            return update
        where = "federation.max-update-norm" if self._fixed is not None else f"{TIMES:g} times the usual norm"
        return Rejection(
            client=update.client,
            code="NORM",
            reason=f"the update's norm is {norm:.3g}, and the limit ({where}) {limit:.3g}",
        )


def _usual(rounds: Sequence[float]) -> float | None:
    """The median over the rounds, or the last one where updates grow."""
    return max(statistics.median_low(rounds), rounds[-1]) if rounds else None


def _median(norms: Iterable[float]) -> float | None:
    """The lower median of norms that are not zero, so that of two the longer one has to justify itself."""
    positive = sorted(norm for norm in norms if norm > 0.0)
    return statistics.median_low(positive) if positive else None


def _put_aside(update: ClientUpdate, norm: float) -> Measured:
    """A copy that stays valid when the next update is taken."""
    difference = update.difference
    return replace(update, difference=Parameters(put_aside(difference.buffer), difference.layout)), norm


def _most_aside(update: ClientUpdate) -> int:
    num_bytes = len(update.difference.buffer) * update.difference.buffer.element_size()
    return max(_FEWEST, min(_FIRST, _FIRST_BYTES // max(num_bytes, 1)))
