"""The server: one process that holds the SuperLink and starts a driver for each run in turn."""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from fedcore.errors import DeploymentError, FedcoreError, StorageError
from fedcore.storage.events import EventLog
from fedcore.storage.files import remove_leftovers, write_whole
from fedcore.trust.address import parse_address
from fedcore_server.flower.superlink.application import SuperLinkSettings
from fedcore_server.flower.superlink.control import Control
from fedcore_server.flower.superlink.process import SuperLink
from fedcore_server.runs.process import SuperLinkAccess
from fedcore_server.runs.store import RunState, RunStore
from fedcore_server.service.home import ServerHome
from fedcore_server.service.monitoring import Monitoring, MonitoringSettings
from fedcore_server.service.readiness import Readiness
from fedcore_server.service.registration import Registration

_log = logging.getLogger("fedcore.server")

_LOOK_SECONDS = 0.2
_STOP_SECONDS = 8.0
_MOST_CRASHES = 5
_CLIENTS_SECONDS = 5.0
_STORAGE_SECONDS = 5.0
_ON_LOOPBACK = ("0.0.0.0", "127.0.0.1")  # noqa: S104 - addresses to listen on that 127.0.0.1 belongs to


class FederationServer:
    """Serves a home until `stop`; the caller holds the home's lock.

    Args:
        bind: Address to listen on; clients use that of the consortium.
        show: Prints a line.
    """

    def __init__(
        self,
        home: ServerHome,
        *,
        bind: str,
        monitoring: MonitoringSettings,
        show: Callable[[str], None],
    ) -> None:
        self._home, self._show = home, show
        self._store = RunStore(home.runs)
        self._events = EventLog(home.events)
        self._stopping = threading.Event()
        self._superlink = SuperLink(_superlink_settings(home, bind))
        self._monitoring = Monitoring(monitoring)
        self._registration = Registration(home.consortium, self._events, admit=self._superlink.admit, show=show)
        self._driver: subprocess.Popen[str] | None = None
        self._current: str | None = None
        self._retry_at = 0.0
        self._clients_at = 0.0
        self._trouble = ""
        self._started = time.time()

    def stop(self) -> None:
        """End within seconds; may be called from a signal handler. A run in progress resumes at the next start."""
        self._stopping.set()

    def run(self) -> None:
        """Raises DeploymentError: The port is taken, or a certificate cannot be used."""
        with self._superlink, self._monitoring:
            access = SuperLinkAccess(
                runtime_address=self._superlink.runtime_address,
                secret=self._superlink.secret,
                bearer=self._superlink.bearer,
            )
            gc.collect()
            gc.freeze()  # imported objects, half a million, are not scanned again every few requests
            with Control(access.runtime_address, access.bearer) as control:
                self._introduce()
                try:
                    while not self._stopping.wait(_LOOK_SECONDS):
                        self._step(control, access)
                finally:
                    self._end_driver()
                    self._home.server_file.unlink(missing_ok=True)
                    with suppress(StorageError):
                        self._events.append("server-stopped")

    def _introduce(self) -> None:
        settings = self._home.consortium.settings()
        gateway = self._superlink.public_port if self._superlink.settings.host in _ON_LOOPBACK else None
        self._readiness = Readiness(self._home, port=gateway)
        self._write_facts()
        self._events.append("server-started", pid=os.getpid())
        self._show(f"{settings.name} is served at {settings.address} (listening on port {self._superlink.public_port})")
        remove_leftovers(self._home.path)
        remove_leftovers(self._home.runs)
        for name in self._store.names():
            remove_leftovers(self._home.runs / name)
            if self._store.readable_status(name).state == RunState.RUNNING:  # the server was killed
                self._store.change(name, state=RunState.QUEUED, reason="the server was restarted")
                self._show(f"run {name} continues")
        self._monitoring.serving(True)

    def _write_facts(self) -> None:
        """Write where the server listens, and what is wrong with it, for ``fedcore doctor``."""
        listening = {"pid": os.getpid(), "port": self._superlink.public_port, "started": self._started}
        facts = {**listening, **self._monitoring.addresses, "problem": self._trouble or None}
        write_whole(self._home.server_file, json.dumps(facts) + "\n")

    def _step(self, control: Control, access: SuperLinkAccess) -> None:
        """Called five times a second; a failure of one task does not stop the others."""
        if not self._superlink.is_serving:
            raise DeploymentError("the SuperLink has ended; the server stops, and continues when it is started again")
        self._look_at_clients(control)
        if time.monotonic() < self._retry_at:
            return
        try:
            self._look_at_driver()
            if self._driver is None and time.monotonic() >= self._retry_at:
                self._start_next(access)
        except StorageError as error:
            self._retry_at = time.monotonic() + _STORAGE_SECONDS
            self._show(f"{error}; trying again in {_STORAGE_SECONDS:.0f} s")

    def _look_at_clients(self, control: Control) -> None:
        """Admit the clients on the roster; count the clients, and check whether they can be served."""
        self._registration.sync(control)
        if time.monotonic() < self._clients_at:
            return
        self._clients_at = time.monotonic() + _CLIENTS_SECONDS
        self._monitoring.traffic(*self._superlink.traffic)
        try:
            self._readiness.check(self._current)
            self._monitoring.clients([node.status for node in control.registered().values()])
            trouble = ""
        except FedcoreError as error:
            trouble = str(error)
        if trouble != self._trouble:
            self._trouble = trouble
            self._show(f"clients are not served: {trouble}" if trouble else "clients are served again")
            with suppress(StorageError):
                self._write_facts()
        self._monitoring.serving(not trouble)  # last: who acts on it reads why in the facts

    def _start_next(self, access: SuperLinkAccess) -> None:
        name = self._store.next_queued()
        if name is None:
            return
        log = (self._home.runs / name / "driver.log").open("a")
        with log:
            self._driver = subprocess.Popen(  # noqa: S603 - our own module, no text from outside
                [sys.executable, "-m", "fedcore_server.runs.process", str(self._home.path), name],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C is the server's to pass on
            )
        self._current = name
        if self._driver.stdin is not None:
            with self._driver.stdin as pipe, suppress(BrokenPipeError):
                pipe.write(access.to_json() + "\n")
        self._events.append("run-started", run=name, pid=self._driver.pid)
        self._show(f"run {name} started")

    def _look_at_driver(self) -> None:
        if self._driver is None or self._current is None:
            return
        self._monitoring.run(self._current, self._store)
        if self._driver.poll() is None:
            if self._store.stop_requested(self._current):
                self._end_driver()
                if not self._store.status(self._current).state.ended:  # it may have come to its end by itself
                    self._store.change(self._current, state=RunState.STOPPED, reason="stopped by an operator")
                self._driver_ended()
            return
        self._driver_ended()

    def _driver_ended(self) -> None:
        name, code = self._current_name(), self._driver.returncode if self._driver else None
        status = self._store.status(name)
        if not status.state.ended:  # it died, perhaps before it could say that it runs
            crashes = status.crashes + 1
            gone_on = crashes < _MOST_CRASHES
            status = self._store.change(
                name,
                state=RunState.QUEUED if gone_on else RunState.FAILED,
                crashes=crashes,
                reason=f"the driver ended by itself (exit code {code}); see driver.log",
            )
            self._retry_at = time.monotonic() + min(2.0**crashes, 30.0)
        self._driver, self._current = None, None
        self._events.append("run-ended", run=name, state=status.state, reason=status.reason[:200])
        self._monitoring.run(name, self._store)
        self._show(f"run {name} is {status.state}{': ' + status.reason if status.reason else ''}")

    def _current_name(self) -> str:
        if self._current is None:
            raise DeploymentError("no run is in progress")
        return self._current

    def _end_driver(self) -> None:
        """Terminate the driver, then kill it. Only the round in progress is lost."""
        driver = self._driver
        if driver is None or driver.poll() is not None:
            return
        driver.send_signal(signal.SIGTERM)
        try:
            driver.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            driver.kill()
            driver.wait()
        if self._stopping.is_set() and self._current is not None:
            status = self._store.status(self._current)
            if status.state in (RunState.STOPPED, RunState.RUNNING):
                self._store.change(self._current, state=RunState.QUEUED, reason="the server was stopped")


def _superlink_settings(home: ServerHome, bind: str) -> SuperLinkSettings:
    at = home.consortium
    host, port = parse_address(at.settings().address)
    bound_host, bound_port = parse_address(bind) if bind else ("0.0.0.0", port)  # noqa: S104 - gateway and TLS protect it
    return SuperLinkSettings(
        host=bound_host,
        port=bound_port,
        name=host,
        certificate=at.server_certificate,
        key=at.server_key,
        database=home.database,
        flower_home=_private_directory(home.flower),
    )


def _private_directory(path: Path) -> Path:
    path.mkdir(mode=0o700, exist_ok=True)
    return path
