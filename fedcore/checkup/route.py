"""The connection to a server, step by step, so that failures can be named."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

from fedcore.checkup.finding import Finding, ok, problem, skipped, warning
from fedcore.errors import DeploymentError
from fedcore.trust.address import parse_address

PULL = "/v1/fleet/pull-messages"

_TIMEOUT_SECONDS = 5.0
_HEADERS = {"Content-Type": "application/protobuf"}  # without it Flower refuses before it asks who it is
_RENEW = "ask the operator to run: fedcore consortium renew"
_CERTIFICATE_FAULTS = {
    9: ("its certificate is not valid yet, by this machine's clock", "set this machine's clock"),
    10: ("its certificate has expired, by this machine's clock", f"{_RENEW}; and look at this machine's clock"),
    62: ("its certificate is for another host name", f"{_RENEW}, after correcting the address in consortium.toml"),
    64: ("its certificate is for another address", f"{_RENEW}, after correcting the address in consortium.toml"),
}
_OTHER_AUTHORITY = (
    "its certificate is not vouched for by the consortium's authority",
    "something between may be reading along; compare ca.crt with the operator's before anything else",
)


class Unreachable(DeploymentError):  # noqa: N818 - what the way ends in
    """The server was not reached.

    Attributes:
        connected: Whether something listens there at all.
    """

    def __init__(self, what: str, advice: str, *, connected: bool = True) -> None:
        self.advice, self.connected = advice, connected
        super().__init__(what)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A server's answer.

    Attributes:
        date: Its ``Date`` header, if any.
        sent: Seconds since the epoch by this machine's clock, as is `received`.
    """

    status: int
    date: str | None
    sent: float
    received: float


def ask(address: str, authority: Path, path: str, *, method: str = "POST") -> Answer:
    """Send an empty request without a name; the body of the answer is not read.

    Args:
        address: ``HOST:PORT``.
        authority: Certificate of the only trusted authority.

    Raises:
        Unreachable: Says at which step it ended.
    """
    host, port = parse_address(address)
    with _over_tls(host, port, authority) as stream:
        connection = http.client.HTTPConnection(host, port)
        connection.sock = stream
        try:
            sent = time.time()
            connection.request(method, path, body=b"" if method == "POST" else None, headers=_HEADERS)
            response = connection.getresponse()
            return Answer(status=response.status, date=response.getheader("Date"), sent=sent, received=time.time())
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(
                f"{address} speaks TLS, but does not answer a request ({type(error).__name__})",
                "is it a fedcore server? ask the operator to look at its log",
            ) from error


def route(address: str, authority: Path) -> Iterator[Finding]:
    """Whether a client's calls would reach the server and be asked for a name; and whether the clocks agree."""
    yield from _proxies(parse_address(address)[0])
    try:
        answer = ask(address, authority, PULL)
    except Unreachable as error:
        yield problem("route", str(error), error.advice)
        yield skipped("clock", "the server, whose clock counts, was not reached")
        return
    yield _judged(address, answer.status)
    yield clock(answer)


def clock(answer: Answer) -> Finding:
    """This machine's clock against the server's; the header's whole seconds leave half a second of doubt."""
    try:
        theirs = parsedate_to_datetime(answer.date or "").timestamp() + 0.5
    except (ValueError, OverflowError):
        return skipped("clock", "the server's answer has no date to compare with")
    ahead = (answer.sent + answer.received) / 2 - theirs
    found = f"this clock is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} the server's"
    if ahead > 4 or ahead < -60:
        return problem("clock", f"{found}; a client 5 s ahead or 5 min behind is refused", "set both clocks by NTP")
    if abs(ahead) > 2:
        return warning("clock", f"{found}; expected 2 s or less", "set both clocks by NTP")
    return ok("clock", found)


def _judged(address: str, status: int) -> Finding:
    if status == 401:
        return ok("route", f"{address} is the consortium's server, and refuses unknown clients")
    if 200 <= status < 300:
        return problem(
            "route",
            f"{address} admits unknown clients (HTTP {status})",
            "send nothing; ask the operator whether fedcore server start runs there",
        )
    if status == 429:
        return warning("route", f"{address} asks for fewer calls (HTTP 429)", "wait a minute and try again")
    if status in (502, 503, 504):
        return problem(
            "route",
            f"something before the server at {address} answers that it is away (HTTP {status})",
            "ask the operator whether the server runs",
        )
    return problem(
        "route",
        f"{address} answers as no fedcore server does (HTTP {status}; expected 401)",
        "ask the operator what is at this address, and whether its path is changed on the way",
    )


def _proxies(host: str) -> Iterator[Finding]:
    """Flower's connection uses these variables; this check does not."""
    set_here = [name for name in ("https", "all") if name in urllib.request.getproxies()]
    if set_here and not urllib.request.proxy_bypass(host):
        names = " and ".join(f"{name.upper()}_PROXY" for name in set_here)
        yield warning(
            "proxy",
            f"{names} is set: the client would go through that proxy, and this check does not",
            f"if the server is reached without it: export NO_PROXY={host}",
        )


def _over_tls(host: str, port: int, authority: Path) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(authority)
    except (OSError, ssl.SSLError) as error:
        what, advice = f"{authority} holds no authority's certificate", "restore it from your backup of the home"
        raise Unreachable(what, advice, connected=False) from error
    plain = _connected(host, port)
    try:
        return context.wrap_socket(plain, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        what, advice = _CERTIFICATE_FAULTS.get(error.verify_code, _OTHER_AUTHORITY)
        raise Unreachable(f"{host}:{port} answers, but {what}", advice) from error
    except TimeoutError as error:
        raise Unreachable(
            f"{host}:{port} is open, but does not answer in {_TIMEOUT_SECONDS:.0f} s",
            "a firewall, or a server that hangs: ask the operator",
        ) from error
    except OSError as error:  # among them ssl.SSLError
        raise Unreachable(
            f"{host}:{port} is open, but speaks no TLS ({type(error).__name__})",
            "is it the right port? ask the operator what listens there",
        ) from error
    finally:
        if plain.fileno() != -1:  # a socket that was wrapped has given its number away
            plain.close()


def _connected(host: str, port: int) -> socket.socket:
    try:
        return socket.create_connection((host, port), timeout=_TIMEOUT_SECONDS)
    except OSError as error:
        raise Unreachable(*_unconnected(host, port, error), connected=False) from error


def _unconnected(host: str, port: int, error: OSError) -> tuple[str, str]:
    if isinstance(error, socket.gaierror):
        return f"the name {host} is not known here", "look at the address, and at this machine's DNS"
    if isinstance(error, ConnectionRefusedError):
        return f"{host}:{port} refuses connections", "is the server started, and is it the right port?"
    if isinstance(error, TimeoutError):
        found = f"{host}:{port} does not answer in {_TIMEOUT_SECONDS:.0f} s"
        return found, "a firewall may drop it: ask for the port to be opened"
    return f"{host}:{port} cannot be reached: {error.strerror or error}", "look at this machine's network"
