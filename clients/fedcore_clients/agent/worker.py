"""The child process that holds torch, the model and the data, and trains.

It lives between messages, so that torch is imported once, and apart from the process that talks to the network: when it
hangs or crashes it is killed and restarted. Requests and replies cross a pipe as JSON, arrays as files; nothing is
pickled after the start.
"""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import os
import signal
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedcore.errors import (
    DataError,
    DeviceError,
    FedcoreError,
    LayoutError,
    PlanError,
    PrivacyError,
    RefusedError,
    TaskError,
)
from fedcore.refusals import Refusal
from fedcore.storage.parent_watch import end_with_parent

if TYPE_CHECKING:
    from flwr.app import RecordDict

    from fedcore.plan import RunPlan
    from fedcore.task import Task
    from fedcore_clients.agent.task_runner import TaskRunner
    from fedcore_clients.training.local_model import Client

_log = logging.getLogger("fedcore.client")

LAYOUT = "layout."
_CODES: tuple[tuple[type[FedcoreError], Refusal], ...] = (
    (PrivacyError, Refusal.PRIVACY),
    (DataError, Refusal.DATA),
    (DeviceError, Refusal.DEVICE),
    (LayoutError, Refusal.LAYOUT),
    (TaskError, Refusal.TASK),
    (PlanError, Refusal.PLAN),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AppSettings:
    """Settings of the child.

    Attributes:
        data: Path of each data set by its name.
        device: Where to train; ``None`` leaves it to the plan.
        min_examples: Training rows below which nothing is computed, unless a plan makes their number secret.
        secret: From which the held-out rows are drawn.
    """

    client: str
    data: Mapping[str, Path]
    device: str | None
    allow_test_noise: bool
    min_examples: int = 1
    secret: int = 0
    spool: Path


class AppProcess:
    """Starts the child when it is needed, and supervises it."""

    def __init__(self, settings: AppSettings) -> None:
        self._settings = settings
        self._process: Any = None
        self._connection: Connection | None = None

    def ask(
        self, kind: str, content: RecordDict, array: Path | None, *, memory: Path | None, limit_seconds: float
    ) -> RecordDict:
        """Run one request in the child.

        Args:
            kind: ``train`` or ``evaluate``; with `LAYOUT` before it, whether the model fits, before data is opened.
            memory: Directory of what the client keeps between the rounds of this run; ``None`` where it may not.
            content: The request, without its array's data.
            array: File with the array's bytes.

        Raises:
            RefusedError: With the code of what failed; ``TIME_LIMIT`` and ``CRASHED`` are the child's own ends.
        """
        from fedcore.wire.records import to_plain

        connection = self._running()
        paths = {name: None if path is None else str(path) for name, path in (("array", array), ("memory", memory))}
        job = {"kind": kind, "content": to_plain(content), **paths}
        try:
            connection.send_bytes(json.dumps(job).encode())
            if not connection.poll(limit_seconds):
                self.stop()
                raise Refusal.TIME_LIMIT(f"no answer within limits.seconds-per-task = {limit_seconds:g}")
            answer = json.loads(connection.recv_bytes())
        except (EOFError, OSError, ValueError) as error:
            self.stop()
            raise Refusal.CRASHED("the training process ended before it answered") from error
        if answer["failed"] == Refusal.DEVICE:
            self.stop()  # after an error of a device, the process cannot use it again
        if answer["failed"]:
            raise RefusedError(answer["failed"], answer["why"])
        return _records(answer["content"], _reply_file(self._settings.spool, self.pid))

    def stop(self) -> None:
        """Kill the child; the next request starts a new one."""
        process, self._process, self._connection = self._process, None, None
        if process is not None:
            process.kill()
            process.join()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def _running(self) -> Connection:
        # An idle child sends nothing: readable data means that a child was killed.
        if self._connection is None or not self._process.is_alive() or self._connection.poll():
            self.stop()
            context = multiprocessing.get_context("spawn")
            self._connection, theirs = context.Pipe()
            self._process = context.Process(
                target=_serve, args=(theirs, self._settings), name="fedcore-client-app", daemon=True
            )
            self._process.start()
            theirs.close()
        return self._connection


def _serve(connection: Connection, settings: AppSettings) -> None:
    """The child's loop: answer until the pipe closes or the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    end_with_parent()
    runners = _TaskRunners(settings)
    with contextlib.suppress(EOFError, OSError):
        while True:
            connection.send_bytes(json.dumps(runners.answer(json.loads(connection.recv_bytes()))).encode())


class _TaskRunners:
    """The runner of the last task; another task replaces it."""

    def __init__(self, settings: AppSettings) -> None:
        self._settings = settings
        self._key: Any = None
        self._runner: TaskRunner | None = None

    def answer(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """The reply's records, or a code and, for the owner only, the reason."""
        from fedcore.wire.records import to_plain

        try:
            reply = self._run(job)
        except RefusedError as error:
            return {"failed": error.code, "why": str(error)}
        except FedcoreError as error:
            foreign = error.__cause__ if isinstance(error, TaskError) else None
            return {"failed": _code_of(error), "why": str(error) if foreign is None else _kind_and_place(foreign)}
        except Exception as error:
            return {"failed": _code_of(error), "why": _kind_and_place(error)}
        _spill(reply, _reply_file(self._settings.spool, os.getpid()))
        return {"failed": None, "content": to_plain(reply)}

    def _run(self, job: Mapping[str, Any]) -> RecordDict:
        from flwr.app import RecordDict

        from fedcore.wire.requests import unpack_plan

        content = _records(job["content"], None if job["array"] is None else Path(job["array"]))
        plan = unpack_plan(content)
        runner, kind = self._for_plan(plan, job["memory"]), job["kind"]
        if kind.startswith(LAYOUT):
            runner.check_layout(plan, content, kind=kind.removeprefix(LAYOUT))
            return RecordDict()
        return runner.train(plan, content) if kind == "train" else runner.evaluate(plan, content)

    def _for_plan(self, plan: RunPlan, memory: str | None) -> TaskRunner:
        from fedcore.task_code import differing_code
        from fedcore.tasks.registry import load_task
        from fedcore_clients.agent.task_runner import TaskRunner

        if differs := differing_code(plan):
            raise Refusal.CODE(differs)
        key = (plan.task, memory)
        if self._runner is None or self._key != key:
            task, settings = load_task(plan), self._settings
            self._runner = TaskRunner(
                task,
                lambda plan: self._load(task, plan),
                allow_test_noise=settings.allow_test_noise,
                device=settings.device,
                memory=None if memory is None else Path(memory),
            )
            self._key = key
        return self._runner

    def _load(self, task: Task, plan: RunPlan) -> Client:
        from fedcore.data.held_out import size_is_secret
        from fedcore_clients.agent.task_runner import OF_THE_CODE
        from fedcore_clients.training.owner_data import load_client

        settings = self._settings
        try:
            path = settings.data.get(data_name(plan))
            client = load_client(task, plan, settings.client, path, secret=settings.secret)
        except TaskError as error:
            cause = error.__cause__
            if cause is None or _code_of(error) == Refusal.DEVICE or isinstance(cause, OF_THE_CODE):
                raise
            reason = f"load_data found rows that it cannot read: {_kind_and_place(cause)}"
            raise Refusal.DATA(reason) from error
        # Where the number of rows is secret, a refusal would reveal one bit of it; the noise hides few rows too.
        if len(client.training) < settings.min_examples and not size_is_secret(plan):
            raise Refusal.MIN_COUNT(f"release.min-examples is {settings.min_examples}, and there are fewer")
        return client


def _code_of(error: Exception) -> Refusal:
    if _is_caused_by_device(error):
        return Refusal.DEVICE
    return next((code for kind, code in _CODES if isinstance(error, kind)), Refusal.FAILED)


def _is_caused_by_device(error: BaseException) -> bool:
    """Whether a device failed, also where a part of the task was blamed."""
    from fedcore_clients.training.device import is_of_the_device

    return is_of_the_device(error) or (error.__cause__ is not None and _is_caused_by_device(error.__cause__))


def _kind_and_place(error: BaseException) -> str:
    """What is kept of a foreign exception: its text may quote a row."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {place.filename}, line {place.lineno}"


def data_name(plan: RunPlan) -> str:
    """The data set that a plan asks for: its own name, or the task's."""
    return plan.task.data or plan.task.name


def _records(plain: Mapping[str, Any], array: Path | None) -> RecordDict:
    """Records from JSON; the array's bytes are the file's, mapped and not read."""
    from flwr.app import ArrayRecord

    from fedcore.storage.mapped_bytes import mapped_file
    from fedcore.wire.records import from_plain

    content = from_plain(plain)
    for record in content.values():
        if isinstance(record, ArrayRecord):
            for each in record.values():
                each.data = mapped_file(array)  # type: ignore[assignment]
    return content


def _reply_file(spool: Path, pid: int | None) -> Path:
    """One for each child, so that none that outlived its time limit writes into another's answer."""
    return spool / f"reply-{pid}.bin"


def _spill(content: RecordDict, path: Path) -> None:
    """Write the one array of a reply to a file; the parent maps it."""
    from flwr.app import ArrayRecord

    from fedcore.storage.mapped_bytes import pieces

    path.unlink(missing_ok=True)  # a new file: the parent may still have the last one mapped
    for record in content.values():
        if isinstance(record, ArrayRecord):
            for array in record.values():
                with path.open("wb") as file:
                    for piece in pieces(array.data):
                        file.write(piece)
