"""The server's certificate, as TLS takes it."""

import contextlib
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from fedcore.errors import TrustError
from fedcore_server.consortium.certificates import Authority, load_certificate, new_key
from fedcore_server.consortium.members import init, invite, renew_certificate
from fedcore_server.consortium.summary import show

NOW = datetime.now(UTC)


@pytest.fixture
def home(tmp_path):
    init(tmp_path / "federation", "heart", "fl.example.org:9092")
    return tmp_path / "federation"


def shake_hands(home, *, name, authority=None):
    """A TLS handshake on loopback between the home's certificate and a client that trusts its authority."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(home / "server.crt", home / "server.key")
    trusting = ssl.create_default_context(cafile=authority or home / "ca.crt")
    trusting.verify_flags |= ssl.VERIFY_X509_STRICT

    def serve():
        connection, _ = listener.accept()
        with (
            connection,
            contextlib.suppress(ssl.SSLError, ConnectionError),
            serving.wrap_socket(connection, server_side=True) as secured,
        ):
            secured.sendall(b"hello")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with (
                socket.create_connection(listener.getsockname(), timeout=10) as plain,
                trusting.wrap_socket(plain, server_hostname=name) as secured,
            ):
                return secured.recv(5), secured.version()
        finally:
            thread.join(10)


@pytest.mark.parametrize("name", ["fl.example.org", "localhost", "127.0.0.1"])
def test_tls_holds_for_the_server_s_name_and_for_this_machine(home, name):
    assert shake_hands(home, name=name) == (b"hello", "TLSv1.3")


def test_tls_fails_for_another_name_and_another_authority(home, tmp_path):
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(home, name="evil.example.org")
    init(tmp_path / "other", "heart", "fl.example.org:9092")
    with pytest.raises(ssl.SSLCertVerificationError, match="verify failed"):
        shake_hands(home, name="localhost", authority=tmp_path / "other" / "ca.crt")


@pytest.mark.parametrize(("address", "host"), [("192.0.2.7:9092", "192.0.2.7"), ("[2001:db8::1]:9092", "2001:db8::1")])
def test_a_server_known_by_its_ip_address_has_it_in_the_certificate(tmp_path, address, host):
    init(tmp_path / "home", "heart", address)
    names = load_certificate(tmp_path / "home" / "server.crt").extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert host in {str(ip) for ip in names.value.get_values_for_type(x509.IPAddress)}
    assert names.value.get_values_for_type(x509.DNSName) == ["localhost"]
    assert shake_hands(tmp_path / "home", name=host)[0] == b"hello"


def test_a_renewed_certificate_is_taken_by_clients_that_joined_before(home):
    old = load_certificate(home / "server.crt")
    key, authority = (home / "server.key").read_bytes(), (home / "ca.crt").read_bytes()
    end = renew_certificate(home, now=datetime.now(UTC) + timedelta(minutes=30))
    new = load_certificate(home / "server.crt")
    assert new.serial_number != old.serial_number
    assert new.not_valid_after_utc == end > old.not_valid_after_utc
    assert ((home / "server.key").read_bytes(), (home / "ca.crt").read_bytes()) == (key, authority)
    assert shake_hands(home, name="fl.example.org")[0] == b"hello"


def test_a_moved_server_gets_its_new_name_by_renewal(home):
    (home / "consortium.toml").write_text('name = "heart"\naddress = "new.example.org:9092"\n')
    renew_certificate(home)
    assert shake_hands(home, name="new.example.org")[0] == b"hello"


def test_an_authority_vouches_for_five_years_and_no_longer():
    authority = Authority.create("heart", NOW)
    late = NOW + timedelta(days=5 * 365 - 10)
    certificate = authority.issue(new_key().public_key(), "heart", "localhost", late)
    assert certificate.not_valid_after_utc == authority.certificate.not_valid_after_utc
    with pytest.raises(TrustError, match=r"expired on .* make a new consortium"):
        authority.issue(new_key().public_key(), "heart", "localhost", late + timedelta(days=11))


def test_a_name_of_any_allowed_length_is_certified(tmp_path):
    init(tmp_path / "home", "x" * 64, f"{'a' * 63}.{'b' * 63}.{'c' * 63}.org:9092")
    assert shake_hands(tmp_path / "home", name="localhost")[0] == b"hello"


@pytest.mark.parametrize("content", [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"])
def test_damaged_certificates_and_keys_are_refused(home, content):
    (home / "server.crt").write_bytes(content)
    with pytest.raises(TrustError, match="expected one in PEM"):
        show(home)
    (home / "ca.key").write_bytes(content)
    with pytest.raises(TrustError, match="expected a private key"):
        renew_certificate(home)
    (home / "ca.crt").unlink()
    with pytest.raises(TrustError, match="cannot be read"):
        invite(home, "a")
