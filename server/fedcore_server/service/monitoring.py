"""Monitoring of a server: gRPC health for orchestrators, a page for Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from fedcore_server.runs.journal import JournalReader
from fedcore_server.runs.store import RunState, RunStore

if TYPE_CHECKING:
    from fedcore_server.service.health import HealthServer
    from fedcore_server.service.metrics_page import MetricsPage

_PAGE_STATES = {
    RunState.QUEUED: "waiting",
    RunState.RUNNING: "running",
    RunState.STOPPED: "stopped",
    RunState.PAUSED: "paused",
    RunState.FAILED: "failed",
    RunState.FINISHED: "finished",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitoringSettings:
    """Where to answer; ``None`` does not.

    Attributes:
        health: ``HOST:PORT`` of gRPC health.
        metrics_port: Port of the page on loopback; 0 for a free one.
    """

    health: str | None = None
    metrics_port: int | None = None


class Monitoring:
    """Health and metrics of a running server; a context manager."""

    def __init__(self, settings: MonitoringSettings) -> None:
        self._settings = settings
        self._health: HealthServer | None = None
        self._page: MetricsPage | None = None
        self._journals: dict[str, JournalReader] = {}
        self._moved = (0, 0)
        self.addresses: dict[str, str] = {}

    def __enter__(self) -> Self:
        if self._settings.health is not None:
            from fedcore_server.service.health import HealthServer

            self._health = HealthServer(self._settings.health)
            self._health.start()
            self.addresses["health"] = self._health.address
        if self._settings.metrics_port is not None:
            from fedcore_server.service.metrics_page import MetricsPage

            self._page = MetricsPage()
            self.addresses["metrics"] = f"127.0.0.1:{self._page.serve(self._settings.metrics_port)}"
        return self

    def __exit__(self, *_: object) -> None:
        if self._health is not None:
            self._health.stop()
        if self._page is not None:
            self._page.close()

    def serving(self, healthy: bool) -> None:
        if self._health is not None:
            self._health.set_serving(healthy)

    def clients(self, states: Collection[str]) -> None:
        if self._page is not None:
            self._page.set_clients(Counter(states) | {"registered": len(states)})

    def traffic(self, sent: int, received: int) -> None:
        if self._page is not None:
            self._page.bytes_moved(sent=sent - self._moved[0], received=received - self._moved[1])
            self._moved = (sent, received)

    def run(self, name: str, store: RunStore) -> None:
        if self._page is None:
            return
        self._page.set_run_state(name, _PAGE_STATES.get(store.status(name).state, "idle"))
        journal = self._journals.setdefault(name, store.journal(name))
        for line in journal.new_lines():
            self._page.round_ended(committed=line["committed"], seconds=line["wall_seconds"])
            self._page.set_progress(
                round=line["round"] if line["committed"] else None,
                loss=(line["evaluation"] or {}).get("loss"),
                epsilon=line["epsilon"],
            )
            for each in (*line["rejected"], *line.get("evaluation_rejected", ())):
                self._page.reply_rejected(each["code"])
