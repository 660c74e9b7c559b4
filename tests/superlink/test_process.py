"""Starting and stopping the SuperLink, and who may talk to it on loopback."""

from __future__ import annotations

import datetime
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import httpx
import pytest

from fedcore.errors import DeploymentError
from fedcore_server.flower.superlink.certificate import check_certificate
from fedcore_server.flower.superlink.control import Control, thin_fab
from fedcore_server.flower.superlink.process import SuperLink
from fedcore_server.flower.superlink.task import open_grid
from tests.superlink.builders import NodeKey, answering, make_certificates, request_to, settings_in, site_in

pytestmark = pytest.mark.xdist_group("servers")

_ROOT = Path(__file__).resolve().parents[2]
_BINARY = {"content-type": "application/protobuf"}


def test_it_starts_and_stops_within_seconds_and_leaves_no_thread(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with site_in(tmp_path) as site:
        node = site.node()  # an idle connection, which must not hold the server up
        assert site.superlink.is_serving
        began = time.monotonic()
        site.superlink.stop()
        assert time.monotonic() - began < 5.0
        assert not site.superlink.is_serving
        node.client.close()
    deadline = time.monotonic() + 15.0  # the workers of the event loop end when they find nothing to do
    while (
        left := [thread for thread in threading.enumerate() if thread not in before]
    ) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DeploymentError, match=f"127.0.0.1:{port} cannot be listened on"):
            SuperLink(settings_in(tmp_path, port=port)).start()


def test_files_that_hold_secrets_are_for_their_owner_only(tmp_path: Path) -> None:
    with site_in(tmp_path) as site:
        site.control.registered()
        for path in tmp_path.glob("flower.db*"):
            assert path.stat().st_mode & 0o077 == 0, path
        assert repr(site.superlink).find(site.superlink.bearer) == -1


def test_loopback_without_the_bearer_is_refused(tmp_path: Path) -> None:
    with site_in(tmp_path) as site:
        base = f"http://{site.superlink.runtime_address}"
        wrong = [{}, {"authorization": "Bearer wrong"}, {"authorization": site.superlink.bearer}]
        for headers in wrong:
            for path in ("/v1/control/list-nodes", "/v1/runtime/acquire-task", "/health", "/docs"):
                answer = httpx.post(base + path, headers=_BINARY | headers, content=b"", timeout=10)
                assert (answer.status_code, answer.content) == (401, b""), path
        with Control(site.superlink.runtime_address, "wrong") as stranger, pytest.raises(DeploymentError, match="401"):
            stranger.registered()


def test_a_run_is_not_taken_up_without_the_secret(tmp_path: Path) -> None:
    with site_in(tmp_path) as site:
        link, run_id = site.superlink, site.control.start_run()
        with (
            pytest.raises(DeploymentError, match="refuses the driver"),
            open_grid(link.runtime_address, b"x" * 32, link.bearer, run_id),
        ):
            pass


def test_a_run_is_reported_as_it_ended(tmp_path: Path) -> None:
    with site_in(tmp_path) as site:
        completed, failed = site.control.start_run(), site.control.start_run()
        with site.grid(completed):
            pass
        with pytest.raises(ZeroDivisionError), site.grid(failed):
            _ = 1 / 0
        assert [_outcome(site.control, run) for run in (completed, failed)] == ["completed", "failed"]


def test_a_stopped_run_refuses_its_driver(tmp_path: Path) -> None:
    with site_in(tmp_path) as site, site.grid() as grid:
        site.control.stop_run(grid.run.run_id)
        site.control.stop_run(grid.run.run_id)
        with pytest.raises(DeploymentError, match="run was stopped"):
            list(grid.arrivals(["0" * 64], timeout_seconds=5))


def test_a_driver_finds_its_own_run_among_others(tmp_path: Path) -> None:
    with site_in(tmp_path) as site:
        site.control.start_run()
        mine = site.control.start_run()
        with site.grid(mine) as grid:
            assert grid.run.run_id == mine


def test_unknown_runs_are_told_as_such(tmp_path: Path) -> None:
    with site_in(tmp_path) as site, pytest.raises(DeploymentError, match="could not look up a run"):
        site.control.stop_run(12345)


class _Member:
    def __init__(self, name: str, flower_key: bytes) -> None:
        self.name, self.flower_key = name, flower_key


class _Roster:
    def __init__(self, *members: _Member) -> None:
        self.members = members


def test_the_roster_decides_who_is_registered(tmp_path: Path) -> None:
    alfa, bravo = _Member("alfa", NodeKey().public_bytes), _Member("bravo", NodeKey().public_bytes)
    with site_in(tmp_path) as site:
        first = site.control.sync_nodes(_Roster(alfa, bravo))
        assert site.control.sync_nodes(_Roster(alfa, bravo)) == first
        assert site.control.sync_nodes(_Roster(bravo)) == {"bravo": first["bravo"]}
        assert [node.name for node in site.control.registered().values()] == ["bravo"]


def test_a_key_that_was_shut_out_stays_out(tmp_path: Path) -> None:
    alfa = _Member("alfa", NodeKey().public_bytes)
    with site_in(tmp_path) as site:
        site.control.sync_nodes(_Roster(alfa))
        site.control.sync_nodes(_Roster())
        with pytest.raises(DeploymentError, match="let the client join anew"):
            site.control.sync_nodes(_Roster(alfa))


def test_an_unregistered_node_is_shut_out_at_once(tmp_path: Path) -> None:
    with site_in(tmp_path) as site:
        node = site.node()
        site.control.sync_nodes(_Roster())
        with pytest.raises(httpx.HTTPStatusError, match="401"):
            node.receive()
        node.client.close()


def test_a_restart_on_the_same_database_keeps_the_nodes(tmp_path: Path) -> None:
    key = NodeKey()
    with site_in(tmp_path) as site:
        node_id = site.control.register(key.public_bytes, "alfa")
        secrets = (site.superlink.secret, site.superlink.bearer)
    with site_in(tmp_path) as site:
        assert site.control.registered()[key.public_bytes].node_id == node_id
        assert (site.superlink.secret, site.superlink.bearer) != secrets
        with answering(site, 1) as (node,), site.grid() as grid:
            sent = grid.push_messages([request_to(node.fleet.node.node_id)])
            assert [arrival.error for arrival in grid.arrivals(sent, timeout_seconds=20)] == [None]


def test_a_kill_keeps_the_nodes(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    key = NodeKey()
    program = f"""
        import sys, time
        from pathlib import Path
        from fedcore_server.flower.superlink.application import SuperLinkSettings
        from fedcore_server.flower.superlink.control import Control
        from fedcore_server.flower.superlink.process import SuperLink
        folder = Path({str(tmp_path)!r})
        with SuperLink(SuperLinkSettings(host="127.0.0.1", port=0, certificate=folder / "tls" / "server.crt",
            key=folder / "tls" / "server.key", database=folder / "flower.db", flower_home=folder / "flower")) as link:
            with Control(link.runtime_address, link.bearer) as control:
                control.register(bytes.fromhex({key.public_bytes.hex()!r}), "alfa")
            print("registered", flush=True)
            time.sleep(60)
    """
    path = os.pathsep.join(str(_ROOT / part) for part in (".", "server", "clients"))
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert process.stdout is not None
    with process, process.stdout:
        assert process.stdout.readline() == "registered\n"
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    with SuperLink(settings) as link, Control(link.runtime_address, link.bearer) as control:
        assert list(control.registered()) == [key.public_bytes]


def test_a_damaged_database_is_told_as_such(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    settings.database.write_bytes(b"not a database" * 1000)
    with pytest.raises(DeploymentError, match="could not be opened"):
        SuperLink(settings).start()


def test_the_old_grpc_servers_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLWR_INTERNAL_GRPC_CONTROL_API", "1")
    with pytest.raises(DeploymentError, match="FLWR_INTERNAL_GRPC_CONTROL_API=1"):
        SuperLink(settings_in(tmp_path)).start()


def test_certificates_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    now = datetime.datetime.now(datetime.UTC)
    good, other = make_certificates(tmp_path / "good"), make_certificates(tmp_path / "other", names=("fl.example.org",))
    old = make_certificates(tmp_path / "old", days=-1)
    check_certificate(good.certificate, good.key, name="127.0.0.1", now=now)
    check_certificate(other.certificate, other.key, name="fl.example.org", now=now)
    for certificate, key, name, message in [
        (tmp_path / "none.crt", good.key, None, "cannot be read"),
        (good.certificate, tmp_path / "none.key", None, "cannot be read"),
        (good.key, good.key, None, "holds no certificate"),
        (good.certificate, good.certificate, None, "others may read|holds no private key"),
        (old.certificate, old.key, None, "is valid from"),
        (good.certificate, other.key, None, "is not that of the certificate"),
        (good.certificate, good.key, "fl.example.org", "is for 127.0.0.1"),
    ]:
        with pytest.raises(DeploymentError, match=message):
            check_certificate(certificate, key, name=name, now=now)


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    settings.key.chmod(0o640)
    with pytest.raises(DeploymentError, match="chmod 600"):
        SuperLink(settings).start()


def test_the_bundle_holds_no_code() -> None:
    import io
    import zipfile

    assert zipfile.ZipFile(io.BytesIO(thin_fab())).namelist() == ["pyproject.toml", ".info/CONTENT"]


def _outcome(control: Control, run_id: int) -> str:
    from flwr.proto.control_pb2 import ListRunsRequest

    return str(control._client.ListRuns(ListRunsRequest(run_id=run_id)).run_dict[run_id].status.sub_status)
