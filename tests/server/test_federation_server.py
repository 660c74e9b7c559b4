"""The server's watch over its driver: whatever ends one, the run is gone on with, and the server itself never ends."""

import errno
from types import SimpleNamespace

import pytest

from fedcore.storage import files
from fedcore_server.runs.store import RunState
from fedcore_server.service.federation_server import FederationServer
from fedcore_server.service.monitoring import MonitoringSettings
from tests.server.served import Served


@pytest.fixture
def served(tmp_path):
    return Served(tmp_path)


class Watching(FederationServer):
    """A server without a network, whose driver is whatever the test says."""

    def __init__(self, served, monkeypatch):
        self.told, self.clock, self.started = [], 1000.0, []
        super().__init__(
            served.home, bind="", monitoring=MonitoringSettings(health=None, metrics_port=None), show=self.told.append
        )
        self._superlink = SimpleNamespace(is_serving=True)
        monkeypatch.setattr("fedcore_server.service.federation_server.time.monotonic", lambda: self.clock)

    def _look_at_clients(self, control):
        return

    def _start_next(self, access):
        name = self._store.next_queued()
        if name is not None:
            self.started.append((name, self.clock))

    def ends_with(self, name, code):
        self._driver, self._current = SimpleNamespace(poll=lambda: code, returncode=code), name

    def look(self, *, after=0.2):
        self.clock += after
        self._step(None, None)


def full(_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_f13_a_full_disk_does_not_end_the_server_and_what_it_could_not_write_is_written_later(served, monkeypatch):
    server = Watching(served, monkeypatch)
    served.store.change(served.name, state=RunState.RUNNING)
    with monkeypatch.context() as disk:
        disk.setattr(files.os, "fsync", full)
        server.ends_with(served.name, 1)
        for _ in range(100):
            server.look()
    assert all("the disk is full" in line for line in server.told)
    assert 3 <= len(server.told) <= 5  # every five seconds, not every look
    assert served.status.state == RunState.RUNNING

    server.look(after=5.0)
    assert (served.status.state, served.status.crashes) == (RunState.QUEUED, 1)
    server.look(after=5.0)
    assert [name for name, _ in server.started] == [served.name]


@pytest.mark.parametrize("state", [RunState.RUNNING, RunState.QUEUED])
def test_a_driver_that_dies_again_and_again_is_started_later_each_time_and_then_no_more(served, monkeypatch, state):
    """Also one that dies before it can say that it runs."""
    server, pauses = Watching(served, monkeypatch), []
    for _ in range(5):
        served.store.change(served.name, state=state)
        server.ends_with(served.name, -9)
        server.look()
        before, tries = server.clock, len(server.started)
        while len(server.started) == tries and server.clock < before + 100:
            server.look(after=1.0)
        pauses.append(server.clock - before)
    assert served.status.state == RunState.FAILED
    assert "exit code -9" in served.status.reason
    assert [round(pause) for pause in pauses[:4]] == [2, 4, 8, 16]
    assert len(server.started) == 4
