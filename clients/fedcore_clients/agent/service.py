"""The client's long-lived process: fetches requests, has the guard judge them, and the child process compute."""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flwr.app import RecordDict

from fedcore.errors import DataError, DeploymentError, RequestGoneError, StorageError, TrustError
from fedcore.refusals import Refusal
from fedcore.storage.files import remove_leftovers, write_whole
from fedcore.storage.mapped_bytes import mapped_file
from fedcore.wire.records import one_array
from fedcore_clients.agent.admission import Request, RequestRefused, refusing
from fedcore_clients.agent.fleet import Fleet, Incoming, connect
from fedcore_clients.agent.guard import Guard
from fedcore_clients.agent.home import ClientHome
from fedcore_clients.agent.polling import Polling, spread
from fedcore_clients.agent.worker import LAYOUT, AppProcess, AppSettings
from fedcore_clients.policy.request_facts import RequestFacts
from fedcore_clients.policy.settings import Policy

_log = logging.getLogger("fedcore.client")

_FIRST_RETRY_SECONDS = 1.0
_LONGEST_RETRY_SECONDS = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """Options of ``fedcore client start``.

    Attributes:
        data: Path of each data set by its name.
        device: Where to train; ``None`` leaves it to the plan.
    """

    data: Mapping[str, Path]
    device: str | None = None


class Agent:
    """One client, from start to stop; the caller holds the home's lock.

    Args:
        home: Where the client has joined.
        show: Prints a line.

    Raises:
        PlanError: The policy is not valid.
        TrustError: A key is absent or damaged.
    """

    def __init__(self, home: ClientHome, settings: AgentSettings, *, show: Callable[[str], None]) -> None:
        self._home, self._settings, self._show = home, settings, show
        self._stopping = threading.Event()
        self._policy = Policy.from_toml(home.policy)
        self._guard = Guard(home, self._policy, lambda: datetime.now(UTC), data=settings.data)
        self._state: dict[str, Any] = {"pid": os.getpid(), "requests": 0, "refused": 0}
        self._fitting: tuple[str, str, int] | None = None
        self._answered: RequestFacts | None = None
        self._spool = _empty_directory(home.spool)
        remove_leftovers(home.path)
        home.forget_old_runs()
        self._app = AppProcess(
            AppSettings(
                client=self._guard.name,
                data=settings.data,
                device=settings.device,
                allow_test_noise=self._policy.privacy.allow_test_noise,
                min_examples=self._policy.release.min_examples,
                secret=home.secret(),
                spool=self._spool,
            )
        )

    def stop(self) -> None:
        """End within seconds, and drop the request in progress; may be called from a signal handler."""
        self._stopping.set()
        self._app.stop()

    def run(self) -> None:
        """Serve until `stop`; a lost connection is made anew, with growing pauses."""
        pause = _FIRST_RETRY_SECONDS
        with self._ending():
            while not self._stopping.is_set():
                started = time.monotonic()
                try:
                    self._serve()
                except DeploymentError as error:
                    pause = _FIRST_RETRY_SECONDS if time.monotonic() - started > _LONGEST_RETRY_SECONDS else 2 * pause
                    pause = min(pause, _LONGEST_RETRY_SECONDS)
                    self._show(f"{error}; trying again in about {pause:.0f} s")
                    self._note(connected=False, problem=str(error))
                    self._stopping.wait(spread(pause))
                except Exception as error:  # the client keeps running, whatever a server sends
                    _log.exception("the connection failed")
                    self._note(connected=False, problem=f"{type(error).__name__}, see the log")
                    self._stopping.wait(_LONGEST_RETRY_SECONDS)

    def _serve(self) -> None:
        home = self._home
        server = home.settings().server
        with connect(
            server,
            authority=home.authority_certificate,
            flower_key=home.flower_key,
            stopping=self._stopping.is_set,
            waiting=self._show,
        ) as fleet:
            self._show(f"{self._guard.name} is connected to {server}; waiting for requests")
            self._note(connected=True, problem=None)
            polling = Polling(lambda: self._guard.num_members)
            while not self._stopping.is_set():
                asked = time.monotonic()
                try:
                    incoming = fleet.receive()
                except (DataError, RequestGoneError) as error:
                    self._show(f"dropped a message: {error}")
                    incoming = None
                if incoming is None:
                    self._stopping.wait(polling.pause(time.monotonic() - asked))
                    continue
                polling.found()
                self._answer(fleet, incoming)

    def _answer(self, fleet: Fleet, incoming: Incoming) -> None:
        """Answer one message; an error in it costs that message only."""
        self._state["requests"] += 1
        self._answered, started = None, time.monotonic()
        try:
            fleet.reply(incoming, self._signed_answer(fleet, incoming))
            if self._answered is not None:
                self._show_answered(self._answered, time.monotonic() - started)
                self._forget_if_over(self._answered)
        except (TrustError, DataError, StorageError) as error:
            self._show(f"dropped a message: {error}")
            self._drop(fleet, incoming, "dropped", reason=str(error)[:500])
        except RequestGoneError as error:
            self._show(f"dropped a message: {error}")
        except DeploymentError:
            raise
        except Exception as error:  # an error of fedcore's must not end the service, nor its text leave
            _log.exception("a request could not be answered")
            self._drop(fleet, incoming, "failed", kind=type(error).__name__)

    def _drop(self, fleet: Fleet, incoming: Incoming, event: str, **facts: str) -> None:
        self._state["refused"] += 1
        with suppress(StorageError):  # a full disk must not end the client because of a log
            self._guard.events.append(event, **facts)
        with suppress(RequestGoneError):
            fleet.fail(incoming)

    def _signed_answer(self, fleet: Fleet, incoming: Incoming) -> RecordDict:
        try:
            return self._worked_on(fleet, incoming)
        except RequestRefused as refusal:
            self._state["refused"] += 1
            self._show(f"refused: {refusal}")
            return self._guard.refuse(refusal)

    def _worked_on(self, fleet: Fleet, incoming: Incoming) -> RecordDict:
        request = self._guard.receive(incoming.content)
        facts = request.facts
        if request.answer is not None:
            fleet.confirm(incoming)
            self._show(f"run {facts.run}, round {facts.round} was requested again, and gets the same answer")
            return request.answer
        self._check_layout(request, facts)
        array = self._fetched(incoming, request)
        fleet.confirm(incoming)
        self._guard.charge(request)
        self._show(f"{facts.kind}: run {facts.run}, round {facts.round}")
        self._note(run=facts.run, round=facts.round, kind=facts.kind)
        answer = self._guard.release(request, self._asked(facts.kind, request, array))
        self._answered = facts
        return answer

    def _show_answered(self, facts: RequestFacts, seconds: float) -> None:
        ended = "; that was its last round" if _is_last(facts) else ""
        place = f"run {facts.run}, round {facts.round} of {facts.plan.federation.rounds} ({facts.kind})"
        self._show(f"answered: {place}, {seconds:.1f} s{ended}")

    def _forget_if_over(self, facts: RequestFacts) -> None:
        """Delete what the client kept between the rounds of a run that has ended."""
        if _is_last(facts):
            shutil.rmtree(self._home.memory_of(facts.run), ignore_errors=True)

    def _check_layout(self, request: Request, facts: RequestFacts) -> None:
        """Have the child compare the declared model with the task's, before it is fetched or charged; once a plan."""
        declared = (facts.plan.sha256, facts.kind, facts.array_bytes)
        if declared != self._fitting:
            self._asked(f"{LAYOUT}{facts.kind}", request, None)
            self._fitting = declared

    def _asked(self, kind: str, request: Request, array: Path | None) -> RecordDict:
        limit = self._policy.limits.seconds_per_task
        memory = self._home.memory_of(request.facts.run) if self._policy.training.memory else None
        with refusing(request.envelope):
            return self._app.ask(kind, request.content, array, memory=memory, limit_seconds=limit)

    def _fetched(self, incoming: Incoming, request: Request) -> Path:
        """Write the model to a file as it comes in, so that it is never in this process's memory as a whole."""
        path = self._spool / "request.bin"
        path.unlink(missing_ok=True)  # a new file: the child may still have the last one mapped
        with refusing(request.envelope, OSError, code=Refusal.DISK):
            if shutil.disk_usage(self._spool).free < 4 * request.array_bytes:  # model, update twice, and a reserve
                raise Refusal.DISK(f"{self._spool} has no space for the model and its update")
            array = one_array(request.content)
            with path.open("wb") as file:
                for chunk in [array.data] if array.data else incoming.chunks(max_bytes=request.array_bytes):
                    file.write(chunk)
        array.data = mapped_file(path)  # type: ignore[assignment]
        return path

    def _note(self, **facts: Any) -> None:
        """Write what ``fedcore client status`` shows."""
        self._state |= facts | {"time": datetime.now(UTC).isoformat(timespec="seconds")}
        with suppress(StorageError):  # a full disk must not end the client because of a status
            write_whole(self._home.path / "status.json", json.dumps(self._state) + "\n")

    @contextmanager
    def _ending(self) -> Iterator[None]:
        self._guard.events.append("started", policy=self._policy.sha256)
        for line in self._guard.changed_rows():
            self._show(line)
        try:
            yield
        finally:
            self._app.stop()
            self._note(connected=False, pid=None)
            with suppress(StorageError):
                self._guard.events.append("stopped")


def _is_last(facts: RequestFacts) -> bool:
    """Whether a request is a run's last evaluation, which is all that a client sees of the end."""
    return (facts.kind, facts.round) == ("evaluate", facts.plan.federation.rounds)


def _empty_directory(path: Path) -> Path:
    """A private directory, emptied of what a crash has left."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(mode=0o700)
    return path
