"""Listeners follow a run: displays, logs and trackers. They never decide anything about it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fedcore.errors import RunPausedError

if TYPE_CHECKING:
    from fedcore.plan import RunPlan

_log = logging.getLogger("fedcore")


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """What is known when a run begins, or is resumed.

    Attributes:
        run: Name of the run.
        task: Name of the task.
        clients: Names of the clients; in a deployment of all members, whether they are connected or not.
        lines: Rounds that were closed before, as in ``rounds.jsonl``; none in a new run.
        rows: Number of all rows; ``None`` in a deployment.
        device: Where models are trained; empty in a deployment.
        engine: How simulated clients are trained; empty in a deployment.
        notes: Sentences about the task and the device.
        warnings: What the privacy linter found and did not refuse, a line each.
    """

    run: str
    task: str
    clients: tuple[str, ...]
    lines: tuple[Mapping[str, Any], ...] = ()
    rows: int | None = None
    device: str = ""
    engine: str = ""
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a run ended.

    Attributes:
        summary: The content of ``summary.json``; ``None`` where it did not finish.
        directory: Where the results are; ``None`` where none are kept.
        failure: Why it did not finish; empty where it did.
    """

    summary: Mapping[str, Any] | None = None
    directory: Path | None = None
    failure: str = ""


class RunListener(Protocol):
    """Follows a run: a display, a log, a tracker. Whatever it raises is logged, and the run continues.

    Attributes:
        name: Name in the log.
    """

    name: str

    def run_begins(self, plan: RunPlan, beginning: Beginning) -> None:
        """Called once, before the first round is asked; the plan has every number filled in."""

    def round_closed(self, line: Mapping[str, Any]) -> None:
        """Called after every round, including failed ones, with its line of ``rounds.jsonl``."""

    def run_ends(self, ending: Ending) -> None:
        """Called once, when the results are on disk, or the run has failed, paused or was stopped."""


class Listeners:
    """Several listeners, none of which can end a run."""

    def __init__(self, listeners: Sequence[RunListener] = ()) -> None:
        self._listeners = tuple(listeners)
        self._failed: set[int] = set()

    def __len__(self) -> int:
        return len(self._listeners)

    @contextmanager
    def following(self, plan: RunPlan, beginning: Beginning) -> Iterator[None]:
        """Report the beginning, and the end if the block raises; otherwise the caller calls `finished`."""
        self._notify("run_begins", plan, beginning)
        try:
            yield
        except BaseException as error:
            self._notify("run_ends", Ending(failure=_why(error)))
            raise

    def round_closed(self, line: Mapping[str, Any]) -> None:
        self._notify("round_closed", line)

    def finished(self, summary: Mapping[str, Any], directory: Path | None) -> None:
        self._notify("run_ends", Ending(summary=summary, directory=directory))

    def _notify(self, call: str, *arguments: Any) -> None:
        for number, listener in enumerate(self._listeners):
            try:
                getattr(listener, call)(*arguments)
            except Exception as error:  # a listener never ends a run
                if number not in self._failed:
                    _log.warning("listener %s failed: %s: %s", name_of(listener), type(error).__name__, error)
                self._failed.add(number)


def name_of(listener: RunListener) -> str:
    """Its name in messages, which must not fail for want of one."""
    return str(getattr(listener, "name", type(listener).__name__))


def _why(error: BaseException) -> str:
    """In words that hold nothing of the data: of an unexpected error its type only."""
    if isinstance(error, KeyboardInterrupt):
        return "stopped"
    return f"paused: {error}" if isinstance(error, RunPausedError) else f"failed: {type(error).__name__}"
