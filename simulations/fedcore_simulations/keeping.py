"""Writes a simulation's rounds down."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

from fedcore.method.exchange import Exchange
from fedcore.plan import RunPlan
from fedcore_server.rounds.round_record import RoundRecord
from fedcore_server.rounds.state import ServerState
from fedcore_server.runs.directory import RunDirectory

_SECONDS = 1.0


class Keeping:
    """Keeps rounds, and stores them with the state to resume from: at most a second later, and however the run ends.

    To flush each to disk would cost more than to train small models. A killed run repeats what was not stored; where
    that would be charged to a privacy budget, or clients are ahead by what they keep, each round is stored at once.

    Args:
        directory: ``None`` where nothing is stored.
        lines: Grows by the line of each round.
    """

    def __init__(self, directory: RunDirectory | None, plan: RunPlan, lines: list[dict[str, Any]]) -> None:
        self._directory, self._plan, self._lines = directory, plan, lines
        self._at_once = plan.privacy.unit != "none" or Exchange.of(plan).remembers
        self._waiting: list[RoundRecord] = []
        self._state: ServerState | None = None
        self._stored_at = -_SECONDS

    def keep(self, record: RoundRecord, state: ServerState) -> None:
        self._lines.append(record.to_json())
        self._waiting.append(record)
        self._state = state
        if self._at_once or time.monotonic() - self._stored_at >= _SECONDS:
            self._store()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._store()

    def _store(self) -> None:
        waiting, self._waiting, self._stored_at = self._waiting, [], time.monotonic()
        if self._directory is not None and self._state is not None and waiting:
            self._directory.record(waiting, self._state, self._plan)
