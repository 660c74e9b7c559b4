"""What watches a server from outside: gRPC health for orchestrators, a page for Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

from fedcore_server.run_store import RunStore


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitoringSettings:
    """Where to answer; ``None`` does not.

    Attributes:
        health: ``HOST:PORT`` of gRPC health.
        metrics: ``HOST:PORT`` of the page; loopback only.
    """

    health: str | None = None
    metrics: str | None = None


class Monitoring:
    """Health and metrics of a running server; a context manager."""

    def __init__(self, settings: MonitoringSettings) -> None:
        self._health = _health_server(settings.health) if settings.health else None
        self._page = _metrics_page(settings.metrics) if settings.metrics else None
        self._seen: Counter[str] = Counter()

    def __enter__(self) -> Self:
        for each in (self._health, self._page):
            if each is not None:
                each.start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._health, self._page):
            if each is not None:
                each.stop()

    @property
    def addresses(self) -> dict[str, str]:
        """Where health and metrics answer."""
        found = {
            "health": self._health.address if self._health else "",
            "metrics": self._page.address if self._page else "",
        }
        return {name: address for name, address in found.items() if address}

    def serving(self, healthy: bool) -> None:
        """Tell orchestrators whether clients are served."""
        if self._health is not None:
            self._health.set_serving(healthy)

    def clients(self, states: Iterable[str]) -> None:
        """Clients by Flower's state of them."""
        if self._page is not None:
            self._page.clients(Counter(states))

    def run(self, name: str, store: RunStore) -> None:
        """Count the rounds of a run that were not counted yet."""
        if self._page is None:
            return
        self._page.run_state(name, store.status(name).state.value)
        for number, line in enumerate(store.rounds(name)):
            if number >= self._seen[name]:
                self._seen[name] += 1
                self._page.round(
                    committed=line["committed"],
                    seconds=line["wall_seconds"],
                    rejected=[each["code"] for each in line["rejected"]],
                )


def _health_server(address: str) -> Any:
    from fedcore_server.health import HealthServer

    return HealthServer(address)


def _metrics_page(address: str) -> Any:
    from fedcore_server.metrics_page import MetricsPage

    return MetricsPage(address)
