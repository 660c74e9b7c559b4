"""Processes that make runs side by side, and outlive a run that fails."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self

from fedcore_simulations.study.job import Ended, Job, Progress, work

_STOP_SECONDS, _STOP_TRIES = 10.0, 6


class Crew:
    """At most `jobs` processes, each of which makes one run after another.

    They are spawned, not forked: a run sees nothing of another, and PyTorch's threads are not copied.

    Args:
        stopping: Called when Ctrl-C begins to stop runs in work, which takes a moment.
    """

    def __init__(self, jobs: int, *, stopping: Callable[[], None] = lambda: None) -> None:
        self._stopping = stopping
        self._context = multiprocessing.get_context("spawn")
        self._jobs = jobs
        self._members: dict[Connection, tuple[Any, Job | None]] = {}

    def __enter__(self) -> Self:
        """Processes start with their first job."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the processes; runs in work store their last round."""
        if kind is KeyboardInterrupt:
            self._stopping()
        processes = [process for process, _ in self._members.values()]
        self._members = {}
        for _ in range(_STOP_TRIES):  # an interrupt may be lost where Python ignores exceptions, as in a finalizer
            for process in processes:
                process.terminate()
            if not _alive(processes, seconds=_STOP_SECONDS):
                return
        for process in processes:
            process.kill()

    def run(self, jobs: Sequence[Job]) -> Iterator[Progress | Ended]:
        """Make all runs, and yield what happens as it happens; each ends with one `Ended`."""
        waiting = list(reversed(jobs))
        while waiting or any(job for _, job in self._members.values()):
            while waiting and (free := self._free()) is not None:
                job = waiting.pop()
                self._members[free] = (self._members[free][0], job)
                try:
                    free.send(job)
                except OSError:  # an idle process was killed; another one takes the job
                    del self._members[free]
                    waiting.append(job)
            for connection in wait([link for link, (_, job) in self._members.items() if job]):
                yield self._received(connection)  # type: ignore[arg-type]

    def _free(self) -> Connection | None:
        idle = next((link for link, (_, job) in self._members.items() if job is None), None)
        return idle or (self._started() if len(self._members) < self._jobs else None)

    def _started(self) -> Connection:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=work, args=(theirs, self._jobs > 1), name="fedcore-sweep")
        # A terminal sends Ctrl-C to all processes, also to one that is just starting: it unblocks what it ignores.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        process.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self._members[ours] = (process, None)
        return ours

    def _received(self, connection: Connection) -> Progress | Ended:
        process, job = self._members[connection]
        try:
            event: Progress | Ended = connection.recv()
        except (EOFError, OSError):
            del self._members[connection]
            process.join(timeout=5)
            return Ended(name=job.name if job else "", failure=_death(process.exitcode))
        if isinstance(event, Ended):
            self._members[connection] = (process, None)
        return event


def _alive(processes: Sequence[Any], *, seconds: float) -> bool:
    """Whether any process is alive after so many seconds; returns as soon as none is."""
    end = time.monotonic() + seconds
    for process in processes:
        process.join(timeout=max(0.0, end - time.monotonic()))
    return any(process.is_alive() for process in processes)


def _death(code: int | None) -> str:
    if code == -signal.SIGKILL:
        return "its process was killed, most likely for want of memory; try fewer --jobs"
    return f"its process died with exit code {code}"
