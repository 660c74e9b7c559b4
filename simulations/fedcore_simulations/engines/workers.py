"""Worker processes over shared memory: only row numbers and small results cross a pipe, never a model."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

import torch
from torch import Tensor

from fedcore.errors import EngineError, FedcoreError

_SLOT_BYTES = 256 * 2**20
_MOST_SLOTS = 64
_ALIGNMENT = 64
_ORPHAN_CHECK_SECONDS = 1.0

Job = Callable[[str, Any, Any, Tensor], Any]
"""``job(kind, request, asked, slot) -> small result``; may write the slot."""


class WorkerPool:
    """Processes that run one job for many clients, and hand back results in the order asked.

    Each has one intra-op thread: with several, the order of a sum, and so its bits, would depend on how many
    cores are free. At most a window of slots is in work, so that memory does not grow with the cohort.

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
        context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        sizes = _aligned(request_bytes), _aligned(reply_bytes)
        self._num_slots = max(2 * num_workers, min(_MOST_SLOTS, _SLOT_BYTES // max(reply_bytes, 1)))
        memory = context.RawArray("b", sizes[0] + sizes[1] * self._num_slots)
        self.request, self._slots = _views(memory, request_bytes, reply_bytes)
        self._workers, self._at_work = [], list[Connection]()
        for _ in range(num_workers):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_work,
                args=(theirs, memory, request_bytes, reply_bytes, make_job),
                name="fedcore-worker",
                daemon=True,
            )
            with warnings.catch_warnings():
                # From Python 3.12 on. Workers compute with one thread, and use none that they did not start.
                warnings.filterwarnings("ignore", message=".*multi-threaded.*fork", category=DeprecationWarning)
                process.start()
            theirs.close()
            self._workers.append((process, ours))

    def run(self, kind: str, request: Any, asked: Sequence[Any]) -> Iterator[tuple[Any, Tensor]]:
        """Run the job for each thing asked, such as a client's place; yield ``(result, slot)`` in that order.

        A slot is valid until the next one is taken.

        Raises:
            EngineError: The job failed, or a worker died; the pool is of no further use.
        """
        chunk = max(1, min(len(asked) // (4 * len(self._workers)), self._num_slots // (2 * len(self._workers))))
        for late in tuple(self._at_work):  # what a run left before its end has asked for answers nothing of this one
            self._receive(late)
        idle = [connection for _, connection in self._workers]
        finished: dict[int, Any] = {}
        sent = taken = 0
        while taken < len(asked):
            while idle and sent < len(asked) and sent - taken + chunk <= self._num_slots:
                positions = range(sent, min(sent + chunk, len(asked)))
                self._send(idle.pop(), (kind, request, [(p, asked[p], p % self._num_slots) for p in positions]))
                sent = positions.stop
            if taken not in finished:
                for connection in wait(self._at_work):
                    finished |= self._receive(connection)  # type: ignore[arg-type]
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

    def _send(self, connection: Connection, message: Any) -> None:
        self._at_work.append(connection)
        try:
            connection.send(message)
        except (BrokenPipeError, ConnectionResetError):
            raise self._death() from None

    def _receive(self, connection: Connection) -> dict[int, Any]:
        try:
            answer = connection.recv()
        except (EOFError, ConnectionResetError):
            raise self._death() from None
        self._at_work.remove(connection)
        if isinstance(answer, FedcoreError):
            raise answer
        return dict(answer)

    def _death(self) -> EngineError:
        codes = []
        for process, _ in self._workers:
            process.join(timeout=0.5)
            if process.exitcode is not None:
                codes.append(process.exitcode)
        reason = "killed, most likely for want of memory" if -signal.SIGKILL in codes else f"exit codes {codes}"
        return EngineError(f"a worker process died ({reason}); try fewer --workers")


def default_workers() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
    connection: Connection, memory: Any, request_bytes: int, reply_bytes: int, make_job: Callable[[Tensor], Job]
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
