"""The way to a server: each way in which it can end has a name, and advice."""

import socket
import ssl
import time
from datetime import UTC, datetime, timedelta

import pytest

from fedcore.checkup import route as route_module
from fedcore.checkup.finding import State
from fedcore.checkup.route import Answer, clock, route
from tests.checkup.builders import (
    PULL,
    Behaviour,
    build_server_home,
    free_port,
    only,
    other_authority,
    plain_listener,
    reissue,
    serving,
    states,
)

pytestmark = pytest.mark.xdist_group("servers")


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def home(tmp_path, port):
    return build_server_home(tmp_path / "federation", f"localhost:{port}")


def looked_at(home, address=None):
    return list(route(address or home.settings().address, home.authority_certificate))


def test_a_server_that_asks_for_a_name_is_what_is_wanted(home, port):
    with serving(home, port) as behaviour:
        found = looked_at(home)
    assert states(found) == {"route": State.OK, "clock": State.OK}
    assert behaviour.asked == [("POST", PULL)]


def test_a_port_where_nothing_listens_refuses(home, port):
    found = looked_at(home)
    assert only(found, "route").state is State.PROBLEM
    assert only(found, "route").what == f"localhost:{port} refuses connections"
    assert "is the server started" in only(found, "route").advice
    assert only(found, "clock").state is State.SKIPPED


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (socket.gaierror(-2, "Name or service not known"), "the name localhost is not known here"),
        (TimeoutError("timed out"), "does not answer in 5 s"),
        (OSError(113, "No route to host"), "cannot be reached: No route to host"),
    ],
)
def test_other_ends_before_a_connection_have_names_too(home, monkeypatch, error, told):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(socket, "create_connection", fail)
    found = only(looked_at(home), "route")
    assert found.state is State.PROBLEM
    assert told in found.what
    assert found.advice


def test_another_authority_is_told_from_another_name_and_from_another_time(home, port, monkeypatch):
    real = socket.create_connection
    monkeypatch.setattr(socket, "create_connection", lambda address, **options: real(("127.0.0.1", port), **options))
    with serving(home, port):
        assert "for another host name" in only(looked_at(home, f"fl.example.org:{port}"), "route").what
        assert "for another address" in only(looked_at(home, f"127.0.0.2:{port}"), "route").what
    for changes, told in (
        ({"authority": other_authority()}, "not vouched for by the consortium's authority"),
        ({"now": datetime.now(UTC) - timedelta(days=100)}, "has expired"),
        ({"now": datetime.now(UTC) + timedelta(days=2)}, "not valid yet"),
    ):
        reissue(home, **changes)
        with serving(home, port):
            found = only(looked_at(home), "route")
        assert found.state is State.PROBLEM
        assert told in found.what
        assert found.advice


def test_a_port_that_speaks_no_tls_is_told(home, port):
    with plain_listener(port, b"SSH-2.0-OpenSSH_9.6\r\n"):
        assert "is open, but speaks no TLS" in only(looked_at(home), "route").what


def test_a_port_that_says_nothing_is_told(home, port, monkeypatch):
    monkeypatch.setattr(route_module, "_TIMEOUT_SECONDS", 0.2)
    with plain_listener(port, None):
        assert "is open, but does not answer" in only(looked_at(home), "route").what


def test_tls_without_http_is_told(home, port, monkeypatch):
    monkeypatch.setattr("tests.checkup.builders._Handler.handle", lambda handler: handler.wfile.write(b"hello\r\n"))
    with serving(home, port):
        assert "does not answer a request (BadStatusLine)" in only(looked_at(home), "route").what


def test_an_authority_that_is_no_certificate_is_told(home, port):
    home.authority_certificate.write_text("nothing")
    assert "ca.crt holds no authority's certificate" in only(looked_at(home), "route").what


@pytest.mark.parametrize(
    ("status", "state", "told"),
    [
        (200, State.PROBLEM, "admits unknown clients"),
        (404, State.PROBLEM, "answers as no fedcore server does (HTTP 404"),
        (415, State.PROBLEM, "answers as no fedcore server does"),
        (429, State.WARNING, "asks for fewer calls"),
        (503, State.PROBLEM, "something before the server"),
    ],
)
def test_every_answer_but_401_is_judged(home, port, status, state, told):
    with serving(home, port, Behaviour(statuses={PULL: status})):
        found = only(looked_at(home), "route")
    assert found.state is state
    assert told in found.what


@pytest.mark.parametrize(
    ("ahead", "state", "told"),
    [
        (0, State.OK, ""),
        (-3.2, State.WARNING, "ahead of the server's; expected 2 s or less"),
        (-8, State.PROBLEM, "ahead of the server's; a client 5 s ahead"),
        (30, State.WARNING, "behind the server's; expected"),
        (100, State.PROBLEM, "behind the server's; a client 5 s ahead"),
    ],
)
def test_a_clock_that_goes_wrong_is_told_with_its_direction(home, port, ahead, state, told):
    with serving(home, port, Behaviour(ahead_seconds=ahead)):
        found = only(looked_at(home), "clock")
    assert found.state is state
    assert told in found.what


def test_half_a_second_of_doubt_is_shared_between_both_sides():
    moment = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
    answer = Answer(status=401, date="Sun, 22 Nov 2026 12:00:00 GMT", sent=moment + 0.4, received=moment + 0.6)
    assert clock(answer).what == "this clock is 0.0 s behind the server's"


@pytest.mark.parametrize("date", [None, "yesterday", "Sun, 99 Nov 2026 12:00:00 GMT"])
def test_an_answer_without_a_date_is_no_fault_of_the_clock(date):
    assert clock(Answer(status=401, date=date, sent=time.time(), received=time.time())).state is State.SKIPPED


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "all_proxy"])
def test_a_proxy_is_told_without_its_password(home, monkeypatch, name):
    monkeypatch.setenv(name, "http://user:secret@proxy.example.org:3128")
    found = only(looked_at(home), "proxy")
    assert found.state is State.WARNING
    assert f"{name.upper()} is set" in found.what
    assert "secret" not in str(found)
    monkeypatch.setenv("NO_PROXY", "localhost")
    assert "proxy" not in states(looked_at(home))


def test_only_the_pinned_authority_is_asked(home, port, monkeypatch):
    def refuse(*_):
        pytest.fail("the system's authorities were loaded")

    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", refuse)
    with serving(home, port):
        assert only(looked_at(home), "route").state is State.OK
