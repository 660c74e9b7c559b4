"""What a client says of a server that it must not, or cannot, talk to (row F16 of the fault matrix)."""

import socket
import ssl
import threading
from pathlib import Path

import pytest

from fedcore_clients.agent import service as agent_module
from fedcore_clients.agent.service import Agent, AgentSettings
from tests.clients.site import Site
from tests.superlink.builders import make_certificates

pytestmark = pytest.mark.xdist_group("servers")


class Impostor:
    """Listens with a certificate that should not be trusted, and counts who talks to it."""

    def __init__(self, made):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(made.certificate, made.key)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.tried, self.heard = 0, 0
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.tried += 1
            with connection:
                try:
                    with self.context.wrap_socket(connection, server_side=True) as secured:
                        self.heard += len(secured.recv(1000))
                except OSError:
                    continue

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(5)


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def told_by_a_client_of(site, port, monkeypatch, *, times=2):
    """What a client tells its owner until it has tried so often."""
    told = []

    def tell(line):
        told.append(line)
        if len(told) == times:
            client.stop()

    class NoChild:
        def __init__(self, _):
            return

        def stop(self):
            return

    monkeypatch.setattr(agent_module, "AppProcess", NoChild)
    monkeypatch.setattr(agent_module, "_FIRST_RETRY_SECONDS", 0.01)
    settings = site.home.settings_file
    settings.write_text(settings.read_text().replace("localhost:9092", f"127.0.0.1:{port}"))
    client = Agent(site.home, AgentSettings(data=dict.fromkeys(site.policy.data.allowed, Path())), show=tell)
    client.run()
    return told


@pytest.mark.parametrize(
    "wrong",
    [{"days": -1}, {"names": ("fl.example.org",)}],
    ids=["an expired certificate", "a certificate for another host"],
)
def test_f16_a_server_with_a_certificate_that_does_not_hold_is_told_nothing_and_tried_again(
    site, tmp_path, monkeypatch, wrong
):
    made = make_certificates(tmp_path / "tls", **wrong)
    site.home.authority_certificate.write_bytes(made.ca.read_bytes())
    impostor = Impostor(made)
    try:
        told = told_by_a_client_of(site, impostor.port, monkeypatch)
    finally:
        impostor.stop()
    assert all("the server's certificate" in line and "trying again in" in line for line in told)
    assert impostor.tried >= 2
    assert impostor.heard == 0


def test_f16_a_server_of_another_authority_is_told_nothing(site, tmp_path, monkeypatch):
    impostor = Impostor(make_certificates(tmp_path / "tls"))
    try:
        told = told_by_a_client_of(site, impostor.port, monkeypatch, times=1)
    finally:
        impostor.stop()
    assert "the server's certificate is not signed by the consortium's authority" in told[0]
    assert impostor.heard == 0


def test_a_server_that_does_not_answer_is_tried_again_and_the_client_stops_at_once_when_told(site, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    told = told_by_a_client_of(site, port, monkeypatch, times=1)
    assert "the server does not answer" in told[0]
