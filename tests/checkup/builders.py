"""Homes of both kinds, and servers on loopback that behave well or badly."""

from __future__ import annotations

import email.utils
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from fedcore.checkup.finding import Finding, State
from fedcore.storage.files import write_whole
from fedcore_clients.agent.home import ClientHome
from fedcore_clients.agent.join import join
from fedcore_server.consortium.certificates import Authority, certificate_pem, load_key
from fedcore_server.consortium.home import ConsortiumHome
from fedcore_server.consortium.members import admit, init, invite

PULL = "/v1/fleet/pull-messages"


def build_server_home(path: Path, address: str = "localhost:9092") -> ConsortiumHome:
    init(path, "heart", address)
    return ConsortiumHome(path)


def build_client_home(path: Path, server: ConsortiumHome, *, name: str = "hospital-a") -> ClientHome:
    """A client that joined and was admitted; it has no policy yet, and has seen no roster."""
    invitation = path.with_name(f"invite-{name}.json")
    invite(server.path, name, out=invitation)
    admit(server.path, join(invitation, path))
    return ClientHome(path)


def reissue(home: ConsortiumHome, *, host: str = "localhost", now: datetime | None = None, authority=None) -> None:
    """Replace the server's certificate by one made for another host, at another time, or by another authority."""
    signer = authority or Authority.load(home.authority_key, home.authority_certificate)
    key = load_key(home.server_key).public_key()
    write_whole(home.server_certificate, certificate_pem(signer.issue(key, "heart", host, now or datetime.now(UTC))))


def other_authority() -> Authority:
    return Authority.create("heart", datetime.now(UTC))


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def states(findings) -> dict[str, State]:
    """The worst state by name."""
    order = [State.OK, State.SKIPPED, State.WARNING, State.PROBLEM]
    found: dict[str, State] = {}
    for each in findings:
        found[each.name] = max(found.get(each.name, State.OK), each.state, key=order.index)
    return found


def only(findings, name: str) -> Finding:
    (found,) = [each for each in findings if each.name == name]
    return found


@dataclass
class Behaviour:
    """What a server answers."""

    statuses: dict[str, int] = field(default_factory=lambda: {PULL: 401})
    ahead_seconds: float = 0.0
    date: str | None = "now"
    asked: list[tuple[str, str]] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    behaviour: Behaviour

    def do_POST(self) -> None:
        behaviour = self.behaviour
        behaviour.asked.append((self.command, self.path))
        self.send_response_only(behaviour.statuses.get(self.path, 404))
        if behaviour.date == "now":
            self.send_header("Date", email.utils.formatdate(time.time() + behaviour.ahead_seconds, usegmt=True))
        elif behaviour.date is not None:
            self.send_header("Date", behaviour.date)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        pass


@contextmanager
def serving(home: ConsortiumHome, port: int, behaviour: Behaviour | None = None) -> Iterator[Behaviour]:
    """A small HTTPS server with the home's own certificate."""
    behaviour = behaviour or Behaviour()
    handler = type("Handler", (_Handler,), {"behaviour": behaviour})
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(home.server_certificate, home.server_key)
    with _Server(("127.0.0.1", port), handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield behaviour
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def plain_listener(port: int, say: bytes | None) -> Iterator[None]:
    """Something that is no TLS server: it says `say` and hangs up, or nothing and waits."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", port)) as listener:
        listener.settimeout(0.05)

        def serve() -> None:
            while not done.is_set():
                try:
                    peer, _ = listener.accept()
                except TimeoutError:
                    continue
                with peer:
                    if say is None:
                        done.wait(5)
                    else:
                        peer.sendall(say)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
