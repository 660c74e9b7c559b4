"""Worker processes over shared memory: only row numbers and small results cross a pipe, never a model."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, cast

import torch
from torch import Tensor

from fedcore.errors import EngineError, FedcoreError

_SLOT_BYTES = 256 * 2**20
_MOST_SLOTS = 64
_ALIGNMENT = 64
_ORPHAN_CHECK_SECONDS, _DEATH_SECONDS = 1.0, 5.0
_MOST_DEATHS = 3
"""In one run of jobs; so many are no accident."""

_log = logging.getLogger("fedcore.simulation")

Job = Callable[[str, Any, Any, Tensor], Any]
"""``job(kind, request, asked, slot) -> small result``; may write the slot."""


class WorkerPool:
    """Processes that run one job for many clients, and hand back results in the order asked.

    Each has one intra-op thread: with several, the order of a sum, and so its bits, would depend on how many
    cores are free. At most a window of slots is in work, so that memory does not grow with the cohort.

    What a worker that dies was asked is asked of a new one. That is the same answer where all random streams are named;
    with secret noise it is drawn anew, and what was drawn before has left no process.

    Args:
        num_workers: Processes.
        make_job: Called once in each process, with the shared request.
        request_bytes: Of a request's vectors.
        reply_bytes: Of a reply's.

    Attributes:
        request: The request's vectors as bytes in shared memory; written by the caller before `run`.
    """

    def __init__(
        self, *, num_workers: int, make_job: Callable[[Tensor], Job], request_bytes: int, reply_bytes: int
    ) -> None:
        self._context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        sizes = _aligned(request_bytes), _aligned(reply_bytes)
        self._num_slots = slots_of(reply_bytes, num_workers)
        memory = self._context.RawArray("b", sizes[0] + sizes[1] * self._num_slots)
        self.request, self._slots = _views(memory, request_bytes, reply_bytes)
        self._work = partial(
            _work, memory=memory, request_bytes=request_bytes, reply_bytes=reply_bytes, make_job=make_job
        )
        self._workers = [self._started() for _ in range(num_workers)]
        self._at_work: dict[Connection, Any] = {}

    def _started(self) -> tuple[BaseProcess, Connection]:
        """A new worker, and this end of its pipe."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=self._work, args=(theirs,), name="fedcore-worker", daemon=True)
        with warnings.catch_warnings():
            # From Python 3.12 on. Workers compute with one thread, and use none that they did not start.
            warnings.filterwarnings("ignore", message=".*multi-threaded.*fork", category=DeprecationWarning)
            process.start()
        theirs.close()
        return process, ours

    def run(self, kind: str, request: Any, asked: Sequence[Any]) -> Iterator[tuple[Any, Tensor]]:
        """Run the job for each thing asked, such as a client's place; yield ``(result, slot)`` in that order.

        A slot is valid until the next one is taken.

        Raises:
            EngineError: The job failed, or workers died again and again; the pool is of no further use.
        """
        chunk = max(1, min(len(asked) // (4 * len(self._workers)), self._num_slots // (2 * len(self._workers))))
        self._take_late_answers()
        idle = [connection for _, connection in self._workers]
        finished: dict[int, Any] = {}
        at_work = self._at_work
        sent = taken = deaths = 0
        while taken < len(asked):
            while idle and sent < len(asked) and sent - taken + chunk <= self._num_slots:
                positions = range(sent, min(sent + chunk, len(asked)))
                connection = idle.pop()
                at_work[connection] = (kind, request, [(p, asked[p], p % self._num_slots) for p in positions])
                _send(connection, at_work[connection])
                sent = positions.stop
            if taken not in finished:
                for connection in cast("list[Connection]", wait(list(at_work))):
                    message, answer = at_work.pop(connection), _received(connection)
                    if answer is None:
                        deaths += 1
                        replacement = self._replaced(connection, deaths)
                        at_work[replacement] = message
                        _send(replacement, message)
                    else:
                        finished |= answer
                        idle.append(connection)
            while taken in finished:
                yield finished.pop(taken), self._slots[taken % self._num_slots]
                taken += 1

    def close(self) -> None:
        """Stop the processes, also ones that are at work."""
        for process, connection in self._workers:
            connection.close()
            process.terminate()
        for process, _ in self._workers:
            process.join(timeout=5)
            if process.is_alive():
                process.kill()
        self._workers = []

    def _take_late_answers(self) -> None:
        """Drop what was asked for by a run that was left before its end: it answers nothing of the next."""
        for connection in tuple(self._at_work):
            del self._at_work[connection]
            with contextlib.suppress(FedcoreError):
                if _received(connection) is None:
                    self._replaced(connection, 1)

    def _replaced(self, connection: Connection, deaths: int) -> Connection:
        """The pipe of a new worker in the place of one that died.

        Raises:
            EngineError: Too many died.
        """
        place = next(number for number, (_, each) in enumerate(self._workers) if each is connection)
        process, _ = self._workers[place]
        process.join(timeout=_DEATH_SECONDS)
        killed = process.exitcode == -signal.SIGKILL
        reason = "killed, most likely for want of memory" if killed else f"exit code {process.exitcode}"
        if deaths >= _MOST_DEATHS:
            raise EngineError(f"a worker process died ({reason}), {deaths} in one round; try fewer --workers")
        _log.warning("a worker process died (%s); its clients are trained again by a new one", reason)
        connection.close()
        self._workers[place] = self._started()
        return self._workers[place][1]


def _send(connection: Connection, message: Any) -> None:
    """To a worker that died, nothing: its pipe is at its end, which `_received` finds."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.send(message)


def _received(connection: Connection) -> dict[int, Any] | None:
    """Results by position, or ``None`` of a worker that died.

    Raises:
        FedcoreError: The job's own.
    """
    try:
        answer = connection.recv()
    except (EOFError, OSError):
        return None
    if isinstance(answer, FedcoreError):
        raise answer
    return dict(answer)


def default_workers() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def slots_of(reply_bytes: int, num_workers: int) -> int:
    """Replies that may be in flight."""
    return max(2 * num_workers, min(_MOST_SLOTS, _SLOT_BYTES // max(reply_bytes, 1)))


def viewed(memory: Tensor, dtype: str) -> Tensor:
    """Bytes as numbers of a type."""
    return memory.view(getattr(torch, dtype))


def _aligned(num_bytes: int) -> int:
    return -(-num_bytes // _ALIGNMENT) * _ALIGNMENT


def _views(memory: Any, request_bytes: int, reply_bytes: int) -> tuple[Tensor, Tensor]:
    """The shared request, shape ``(request_bytes,)``, and the slots, shape ``(slots, reply_bytes)``; bytes."""
    everything, start = torch.frombuffer(memory, dtype=torch.uint8), _aligned(request_bytes)
    slots = everything[start:].view(-1, _aligned(reply_bytes))
    return everything[:request_bytes], slots[:, :reply_bytes]


def _work(
    connection: Connection, *, memory: Any, request_bytes: int, reply_bytes: int, make_job: Callable[[Tensor], Job]
) -> None:
    """A worker's life: build the job, answer until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process decides what Ctrl-C means
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = os.getppid()
    torch.set_num_threads(1)
    request, slots = _views(memory, request_bytes, reply_bytes)
    job = make_job(request)
    while True:
        try:
            # A forked worker holds copies of its siblings' pipes, so a main process that was killed closes none.
            while not connection.poll(_ORPHAN_CHECK_SECONDS):
                if os.getppid() != parent:
                    return
            kind, asked, jobs = connection.recv()
        except (EOFError, OSError):
            return
        connection.send(_answer(job, kind, asked, jobs, slots))


def _answer(job: Job, kind: str, request: Any, jobs: list[tuple[int, Any, int]], slots: Tensor) -> Any:
    """The results, or the first error: of fedcore's kind, for others may not survive the way through a pipe."""
    try:
        return [(position, job(kind, request, each, slots[slot])) for position, each, slot in jobs]
    except FedcoreError as error:
        return error
    except Exception:
        return EngineError(f"a worker process failed:\n{traceback.format_exc(limit=-6)}")
