"""A running server's metrics for Prometheus; only what the journal shows too."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

from fedcore.errors import DeploymentError

if TYPE_CHECKING:
    import threading
    from wsgiref.simple_server import WSGIServer

_OUTCOMES = ("committed", "failed")
_CLIENT_STATES = ("registered", "online", "offline")
_DIRECTIONS = ("sent", "received")
_RUN_STATES = ("idle", "waiting", "running", "paused", "stopped", "finished", "failed")
_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
_CODE = re.compile(r"[A-Z][A-Z_]{0,31}")
_LOOPBACK = frozenset({"127.0.0.1", "::1"})


class MetricsPage:
    """Counters and gauges in their own registry, and a page on loopback that shows them.

    ::

        fedcore_rounds_total{outcome}           committed, failed
        fedcore_clients{state}                  registered: all on the roster; online and offline: those seen so far
        fedcore_bytes_total{direction}          sent, received: payload of the models' arrays
        fedcore_round_seconds                   histogram
        fedcore_rejected_replies_total{code}    the journal's codes, such as NONFINITE or LATE
        fedcore_run_state{run, state}           1 for the present state, 0 for the others
        fedcore_run_round{run}                  last committed round
        fedcore_run_loss{run}                   loss of the last evaluation
        fedcore_run_epsilon{run}                ε spent so far; absent without privacy

    Only the newest run has those of a run; before the first one, ``run`` is empty.
    """

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = at = CollectorRegistry()
        self._rounds = Counter("fedcore_rounds", "Rounds by outcome", ["outcome"], registry=at)
        self._clients = Gauge("fedcore_clients", "Clients by state", ["state"], registry=at)
        self._bytes = Counter("fedcore_bytes", "Payload bytes of arrays by direction", ["direction"], registry=at)
        self._seconds = Histogram("fedcore_round_seconds", "Duration of a round", buckets=_SECONDS, registry=at)
        self._rejected = Counter(
            "fedcore_rejected_replies", "Replies that were not counted, by code", ["code"], registry=at
        )
        self._state = Gauge("fedcore_run_state", "1 for the state that the run is in", ["run", "state"], registry=at)
        self._round = Gauge("fedcore_run_round", "Last committed round of the run", ["run"], registry=at)
        self._loss = Gauge("fedcore_run_loss", "Loss of the run's last evaluation", ["run"], registry=at)
        self._epsilon = Gauge("fedcore_run_epsilon", "Epsilon that the run has spent", ["run"], registry=at)
        self._run = ""
        self._show_zeros()
        self.set_run_state("", "idle")
        self._server: WSGIServer | None = None
        self._thread: threading.Thread | None = None

    def round_ended(self, *, committed: bool, seconds: float) -> None:
        self._rounds.labels("committed" if committed else "failed").inc()
        self._seconds.observe(seconds)

    def reply_rejected(self, code: str) -> None:
        """An unknown code is counted as ``OTHER``."""
        self._rejected.labels(code if _CODE.fullmatch(code) else "OTHER").inc()

    def bytes_moved(self, *, sent: int = 0, received: int = 0) -> None:
        self._bytes.labels("sent").inc(sent)
        self._bytes.labels("received").inc(received)

    def set_clients(self, numbers: Mapping[str, int]) -> None:
        for state in _CLIENT_STATES:
            self._clients.labels(state).set(numbers.get(state, 0))

    def set_run_state(self, run: str, state: str) -> None:
        """Set the state of the run, and drop that of earlier runs.

        Raises:
            ValueError: There is no such state.
        """
        if state not in _RUN_STATES:
            raise ValueError(f"expected one of {', '.join(_RUN_STATES)}, found {state!r}")
        if run != self._run:
            for gauge in (self._state, self._round, self._loss, self._epsilon):
                gauge.clear()
            self._run = run
        for known in _RUN_STATES:
            self._state.labels(run, known).set(known == state)

    def set_progress(self, *, round: int | None, loss: float | None, epsilon: float | None) -> None:
        """Progress of the run; ``None`` keeps the previous value."""
        shown = ((self._round, round), (self._loss, loss), (self._epsilon, epsilon))
        for gauge, value in shown:
            if value is not None:
                gauge.labels(self._run).set(value)

    def text(self) -> str:
        from prometheus_client import generate_latest

        return generate_latest(self.registry).decode()

    def serve(self, port: int, host: str = "127.0.0.1") -> int:
        """Show the page at ``http://HOST:PORT/metrics``; returns the port, chosen where 0 was given.

        Raises:
            DeploymentError: The port is taken, or the host is not loopback.
        """
        from prometheus_client import start_http_server

        if host not in _LOOPBACK:
            raise DeploymentError(f"metrics are shown on loopback only, not on {host}: let a proxy publish them")
        try:
            self._server, self._thread = start_http_server(port, addr=host, registry=self.registry)
        except OSError as error:
            raise DeploymentError(f"metrics cannot be shown on {host}:{port}: {error.strerror}") from None
        return self._server.server_port

    def close(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = self._thread = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _show_zeros(self) -> None:
        """A counter that was never counted is absent otherwise, and alerts on it never fire."""
        for outcome in _OUTCOMES:
            self._rounds.labels(outcome)
        for direction in _DIRECTIONS:
            self._bytes.labels(direction)
        self.set_clients({})
