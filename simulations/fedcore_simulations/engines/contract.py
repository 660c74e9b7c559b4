"""What every engine is."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from fedcore_server.rounds.federation import Federation


class Engine(Federation, Protocol):
    """A federation whose clients are simulated on this machine; a context manager that frees what it started.

    Its class is called with ``(task, plan, clients, num_workers=, device=, memory=)`` and its options, and
    starts nothing yet.

    An engine decides how fast clients are trained, never what comes out: for the same plan its updates
    equal those of the ``loop`` engine.
    """

    name: str
    num_workers: int

    def refusal(self) -> str | None:
        """Why it cannot train this run exactly as ``loop`` does; ``None`` where it can. Asked before it is started."""

    def __enter__(self) -> Self:
        """Start workers."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop workers and give back memory, however the run ended."""
