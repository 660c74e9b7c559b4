"""What a client's request needs, and what orchestrators, Prometheus and the doctor are told when it is missing."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fedcore.checkup.finding import State, examine
from fedcore.errors import DeploymentError, StorageError
from fedcore_server.checkup.home import server_checks
from fedcore_server.service import federation_server, readiness
from fedcore_server.service.federation_server import FederationServer
from fedcore_server.service.home import ServerHome
from fedcore_server.service.monitoring import MonitoringSettings
from fedcore_server.service.readiness import SPARE_BYTES, Readiness
from tests.checkup.builders import PULL, Behaviour, build_server_home, free_port, only, serving
from tests.trust.builders import welcome

pytestmark = pytest.mark.xdist_group("servers")


@pytest.fixture
def home(tmp_path: Path) -> ServerHome:
    path = build_server_home(tmp_path / "federation", f"localhost:{free_port()}").path
    with closing(sqlite3.connect(path / "flower.db")) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE node (node_id INTEGER)")
    return ServerHome(path)


def _free(monkeypatch: pytest.MonkeyPatch, num_bytes: int) -> None:
    usage = shutil.disk_usage("/")._replace(free=num_bytes)
    monkeypatch.setattr(readiness.shutil, "disk_usage", lambda _: usage)


def test_a_home_in_order_is_ready_and_a_busy_database_is_no_fault(home: ServerHome) -> None:
    looked = Readiness(home, port=None)
    looked.check(None)
    with closing(sqlite3.connect(home.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        looked.check(None)


def test_a_database_that_is_removed_or_replaced_is_noticed(home: ServerHome) -> None:
    looked = Readiness(home, port=None)
    aside = home.database.rename(home.path / "aside.db")
    with pytest.raises(StorageError, match="was removed or replaced while the server runs: restart the server"):
        looked.check(None)
    shutil.copy(aside, home.database)
    with pytest.raises(StorageError, match="was removed or replaced"):
        looked.check(None)


def test_a_database_that_cannot_be_written_is_noticed(home: ServerHome, monkeypatch: pytest.MonkeyPatch) -> None:
    looked, real = Readiness(home, port=None), sqlite3.connect
    looked.check(None)
    read_only = lambda name, **how: real(name.replace("mode=rw", "mode=ro"), **how)  # noqa: E731 - root may write all
    monkeypatch.setattr(readiness.sqlite3, "connect", read_only)
    with pytest.raises(StorageError, match="cannot be written: attempt to write a readonly database"):
        looked.check(None)


def test_the_room_that_is_needed_grows_with_the_model_of_the_run(
    home: ServerHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = home.runs / "digits-0001" / "checkpoint"
    kept.mkdir(parents=True)
    (kept / "state.safetensors").write_bytes(bytes(5_000_000))
    looked = Readiness(home, port=None)
    _free(monkeypatch, SPARE_BYTES)
    looked.check(None)
    with pytest.raises(StorageError, match=f"the disk is nearly full: less than {104 + 10} MB are free"):
        looked.check("digits-0001")
    _free(monkeypatch, SPARE_BYTES + 10_000_000)
    looked.check("digits-0001")
    _free(monkeypatch, SPARE_BYTES - 1)
    with pytest.raises(StorageError, match="less than 104 MB"):
        looked.check(None)


def test_a_gateway_that_answers_as_none_does_or_not_at_all_is_noticed(home: ServerHome) -> None:
    port = free_port()
    looked = Readiness(home, port=port)
    with serving(home.consortium, port):
        looked.check(None)
    with (
        serving(home.consortium, port, Behaviour(statuses={PULL: 500})),
        pytest.raises(DeploymentError, match="HTTP 500, expected 401"),
    ):
        looked.check(None)
    with pytest.raises(DeploymentError, match="refuses connections"):
        looked.check(None)


# the whole server


@contextmanager
def _running(path: Path) -> Iterator[tuple[FederationServer, list[str]]]:
    told: list[str] = []
    monitoring = MonitoringSettings(health="127.0.0.1:0", metrics_port=0)
    home = ServerHome(path)
    with home.only_server():
        server = FederationServer(home, bind=f"127.0.0.1:{free_port()}", monitoring=monitoring, show=told.append)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            yield server, told
        finally:
            server.stop()
            thread.join(30)


def _until(found: object, what: str) -> None:
    deadline = time.monotonic() + 30
    while not found():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_a_server_whose_database_is_gone_says_so_to_everyone_who_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(federation_server, "_CLIENTS_SECONDS", 0.1)
    home = build_server_home(tmp_path / "federation", "127.0.0.1:9092")
    welcome(home.path, "hospital-a")
    facts = home.path / "server.json"
    with _running(home.path) as (_, told):
        _until(facts.exists, "the server starts")
        at = json.loads(facts.read_text())
        with grpc.insecure_channel(at["health"]) as channel:
            stub = health_pb2_grpc.HealthStub(channel)

            def health() -> int:
                return int(stub.Check(health_pb2.HealthCheckRequest(), timeout=10).status)

            _until(lambda: health() == health_pb2.HealthCheckResponse.SERVING, "it is healthy")
            registered = 'fedcore_clients{state="registered"} 1.0'
            _until(lambda: registered in httpx.get(f"http://{at['metrics']}/metrics").text, "one client is registered")
            aside = (home.path / "flower.db").rename(home.path / "aside.db")
            _until(lambda: health() == health_pb2.HealthCheckResponse.NOT_SERVING, "it is not")
            found = examine(server_checks(home, plan=None, clock=lambda: datetime.now(UTC)))
            assert only(found, "process").state is only(found, "database").state is State.PROBLEM
            assert "does not serve clients: the database" in only(found, "process").what
            aside.rename(home.path / "flower.db")
            _until(lambda: health() == health_pb2.HealthCheckResponse.SERVING, "it is again")
            assert json.loads(facts.read_text())["problem"] is None
    troubles = [line for line in told if "served" in line][1:]
    assert [line.partition(":")[0] for line in troubles] == ["clients are not served", "clients are served again"]
