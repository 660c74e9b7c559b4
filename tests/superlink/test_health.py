"""What supervisors and Prometheus are told."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from fedcore.errors import DeploymentError
from fedcore_server.runs.store import RunState, RunStore
from fedcore_server.service.health import HealthServer
from fedcore_server.service.metrics_page import MetricsPage
from fedcore_server.service.monitoring import Monitoring, MonitoringSettings
from tests.builders import build_plan

pytestmark = pytest.mark.xdist_group("servers")

_STATES = health_pb2.HealthCheckResponse


def _samples(page: MetricsPage) -> dict[tuple[str, str], float]:
    return _read(page.text())


def _shown(monitoring: Monitoring) -> dict[tuple[str, str], float]:
    return _read(httpx.get(f"http://{monitoring.addresses['metrics']}/metrics", timeout=10).text)


def _read(text: str) -> dict[tuple[str, str], float]:
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_health_is_what_it_was_set_to() -> None:
    with HealthServer("127.0.0.1:0") as server, grpc.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        question = health_pb2.HealthCheckRequest()
        assert stub.Check(question, timeout=10).status == _STATES.NOT_SERVING
        server.set_serving(True)
        assert stub.Check(question, timeout=10).status == _STATES.SERVING
        server.set_serving(False)
        assert stub.Check(question, timeout=10).status == _STATES.NOT_SERVING


def test_a_health_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(DeploymentError, match=f"cannot listen on {address}"):
            HealthServer(address)


def test_the_page_counts_rounds_replies_and_bytes() -> None:
    page = MetricsPage()
    page.round_ended(committed=True, seconds=0.3)
    page.round_ended(committed=False, seconds=7.0)
    page.reply_rejected("NONFINITE")
    page.reply_rejected("patient 4711")
    page.bytes_moved(sent=5, received=7)
    page.set_clients({"registered": 3, "online": 2})
    page.set_run_state("digits-0001", "running")
    page.set_progress(round=4, loss=0.25, epsilon=1.5)
    samples = _samples(page)
    expected = {
        ("fedcore_rounds_total", "committed"): 1,
        ("fedcore_rounds_total", "failed"): 1,
        ("fedcore_round_seconds_count", ""): 2,
        ("fedcore_round_seconds_sum", ""): 7.3,
        ("fedcore_rejected_replies_total", "NONFINITE"): 1,
        ("fedcore_rejected_replies_total", "OTHER"): 1,
        ("fedcore_bytes_total", "sent"): 5,
        ("fedcore_bytes_total", "received"): 7,
        ("fedcore_clients", "registered"): 3,
        ("fedcore_clients", "online"): 2,
        ("fedcore_clients", "offline"): 0,
        ("fedcore_run_state", "digits-0001,running"): 1,
        ("fedcore_run_state", "digits-0001,idle"): 0,
        ("fedcore_run_round", "digits-0001"): 4,
        ("fedcore_run_loss", "digits-0001"): 0.25,
        ("fedcore_run_epsilon", "digits-0001"): 1.5,
    }
    assert {key: samples[key] for key in expected} == expected
    assert "patient" not in page.text()


def test_an_unknown_run_state_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of idle"):
        MetricsPage().set_run_state("digits-0001", "asleep")


def test_only_the_newest_run_is_shown_and_only_what_is_known_of_it() -> None:
    page = MetricsPage()
    page.set_run_state("digits-0001", "finished")
    page.set_progress(round=4, loss=0.25, epsilon=1.5)
    page.set_run_state("digits-0002", "running")
    page.set_progress(round=None, loss=None, epsilon=None)
    about_runs = {key: value for key, value in _samples(page).items() if key[0].startswith("fedcore_run_")}
    assert {labels.partition(",")[0] for _, labels in about_runs} == {"digits-0002"}
    assert {name for name, _ in about_runs} == {"fedcore_run_state"}


def test_the_page_follows_a_run_by_its_name_and_a_stopped_run_is_not_a_paused_one(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs")
    name = store.submit(build_plan())
    line = {"round": 1, "committed": True, "rejected": [], "evaluation": {"loss": 0.5}, "epsilon": 2.0}
    line |= {"wall_seconds": 1.0}
    failed = line | {"round": 2, "committed": False, "evaluation": None}
    (store.path / name / "rounds.jsonl").write_text(f"{json.dumps(line)}\n{json.dumps(failed)}\n")
    with Monitoring(MonitoringSettings(metrics_port=0)) as monitoring:
        monitoring.clients(["registered", "online", "online", "offline"])
        for state in RunState:
            store.change(name, state=state)
            monitoring.run(name, store)
            samples = _shown(monitoring)
            shown = {labels for (metric, labels), value in samples.items() if metric == "fedcore_run_state" and value}
            assert shown == {f"{name},{'waiting' if state is RunState.QUEUED else state}"}
    expected = {
        ("fedcore_rounds_total", "committed"): 1,
        ("fedcore_rounds_total", "failed"): 1,
        ("fedcore_run_round", name): 1,
        ("fedcore_run_loss", name): 0.5,
        ("fedcore_run_epsilon", name): 2.0,
        ("fedcore_clients", "registered"): 4,
        ("fedcore_clients", "online"): 2,
        ("fedcore_clients", "offline"): 1,
    }
    assert {key: samples[key] for key in expected} == expected


def test_the_page_is_shown_on_loopback_only_and_taken_down() -> None:
    with MetricsPage() as page:
        port = page.serve(0)
        url = f"http://127.0.0.1:{port}/metrics"
        assert "fedcore_rounds_total" in httpx.get(url, timeout=10).text
        with pytest.raises(DeploymentError, match="loopback only"):
            page.serve(0, host="0.0.0.0")  # noqa: S104
        with MetricsPage() as other, pytest.raises(DeploymentError, match=f"{port}"):
            other.serve(port)
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, timeout=10)
