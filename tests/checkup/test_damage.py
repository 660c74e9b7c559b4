"""A home with a damaged file does not start; the file is named, with what to do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedcore.errors import TrustError
from fedcore.trust.identity import COORDINATOR, FlowerKey, Identity
from fedcore_clients.agent.damage import refuse_damaged_home as refuse_damaged_client
from fedcore_clients.agent.home import ClientHome
from fedcore_clients.commands.client import client
from fedcore_server.commands.server import server as server_commands
from fedcore_server.consortium.certificates import certificate_pem, key_pem, new_key
from fedcore_server.consortium.home import ConsortiumHome
from fedcore_server.consortium.members import renew_certificate
from fedcore_server.service.damage import refuse_damaged_home as refuse_damaged_server
from tests.checkup.builders import build_client_home, build_server_home, other_authority, reissue
from tests.trust.builders import build_roster, coordinator

NOW = datetime.now(UTC)


def _half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "absent": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut short": _half,
    "garbage": lambda path: path.write_bytes(b"\xff\xfe\x00 no longer itself"),
}


@pytest.fixture
def server(tmp_path: Path) -> ConsortiumHome:
    return build_server_home(tmp_path / "federation")


@pytest.fixture
def home(tmp_path: Path, server: ConsortiumHome) -> ClientHome:
    """A client's home that has seen a roster, as after its first request."""
    made = build_client_home(tmp_path / "hospital-a", server)
    made.roster.write_bytes(server.roster_file.read_bytes())
    return made


def _told_of_server(server: ConsortiumHome) -> str:
    with pytest.raises(TrustError) as error:
        refuse_damaged_server(server, NOW)
    return str(error.value)


def _told_of_client(home: ClientHome) -> str:
    with pytest.raises(TrustError) as error:
        refuse_damaged_client(home)
    return str(error.value)


def test_homes_in_order_are_let_through_and_a_client_without_a_roster_too(
    server: ConsortiumHome, home: ClientHome
) -> None:
    refuse_damaged_server(server, NOW)
    refuse_damaged_client(home)
    home.roster.unlink()
    home.response.unlink()
    refuse_damaged_client(home)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("coordinator.key", "fedcore consortium init with another --home"),
        ("roster.json", "copy roster.json from the home of the client"),
        ("ca.crt", "copy ca.crt from the home of a client"),
        ("server.crt", "fedcore consortium renew --home"),
        ("server.key", "fedcore consortium renew --home"),
    ],
)
def test_a_damaged_file_of_a_server_is_named_with_what_to_do(
    server: ConsortiumHome, damage: str, name: str, advice: str
) -> None:
    DAMAGES[damage](server.path / name)
    (line,) = _told_of_server(server).splitlines()
    assert str(server.path / name) in line
    assert advice in line


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["identity.key", "flower.key", "coordinator.pub", "ca.crt", "roster.json"])
def test_a_damaged_file_of_a_client_is_named_with_what_to_do(home: ClientHome, damage: str, name: str) -> None:
    if (name, damage) == ("roster.json", "absent"):
        return  # so it is before the first request
    DAMAGES[damage](home.path / name)
    (line,) = _told_of_client(home).splitlines()
    assert str(home.path / name) in line
    assert ("remove" if name == "roster.json" else "fedcore consortium invite hospital-a --again") in line


def test_every_damaged_file_is_named_at_once(server: ConsortiumHome) -> None:
    for name in ("coordinator.key", "server.crt"):
        (server.path / name).write_bytes(b"")
    told = _told_of_server(server).splitlines()
    assert [name in line for name, line in zip(("coordinator.key", "server.crt"), told, strict=True)] == [True, True]


def test_keys_and_certificates_of_somebody_else_are_named(server: ConsortiumHome, home: ClientHome) -> None:
    kept = {path: path.read_bytes() for path in (*server.path.glob("*.*"), *home.path.glob("*.*"))}

    def replaced(path: Path, write: Callable[[Path], object]) -> None:
        for each, content in kept.items():
            each.write_bytes(content)
        path.unlink()
        write(path)
        path.chmod(0o600)

    replaced(server.coordinator_key, Identity.create(COORDINATOR).save)
    assert f"if the key is another's, restore {server.coordinator_key} too" in _told_of_server(server)
    replaced(server.roster_file, lambda path: path.write_text(build_roster().signed(coordinator())))
    assert f"{server.roster_file}: the signature is not by coordinator" in _told_of_server(server)
    replaced(server.server_key, lambda path: path.write_bytes(key_pem(new_key())))
    assert "is not that of the certificate" in _told_of_server(server)
    replaced(
        server.authority_certificate, lambda path: path.write_bytes(certificate_pem(other_authority().certificate))
    )
    assert "is not signed by the authority that clients trust" in _told_of_server(server)
    replaced(server.server_certificate, lambda path: reissue(server, authority=other_authority()))
    assert "is not signed by the authority that clients trust" in _told_of_server(server)
    replaced(home.identity_key, Identity.create("hospital-a").save)
    assert f"{home.identity_key} holds another key than {home.response}" in _told_of_client(home)
    replaced(home.flower_key, FlowerKey.create().save)
    assert f"{home.flower_key} holds another key than {home.response}" in _told_of_client(home)
    replaced(home.coordinator_key, lambda path: path.write_text(Identity.create("b").public.key.hex()))
    assert f"{home.coordinator_key} is another coordinator's" in _told_of_client(home)


def test_a_file_that_others_may_read_needs_another_mode_and_no_backup(server: ConsortiumHome, home: ClientHome) -> None:
    for path, told in (
        (server.coordinator_key, _told_of_server),
        (server.server_key, _told_of_server),
        (home.identity_key, _told_of_client),
        (home.flower_key, _told_of_client),
    ):
        path.chmod(0o644)
        text = told(server if told is _told_of_server else home)  # type: ignore[arg-type]
        assert f"chmod 600 {path}" in text
        assert "backup" not in text
        path.chmod(0o600)


@pytest.mark.parametrize("name", ["server.crt", "server.key"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_renewed_certificate_mends_a_lost_key_too(server: ConsortiumHome, name: str, damage: str) -> None:
    DAMAGES[damage](server.path / name)
    renew_certificate(server.path)
    refuse_damaged_server(server, NOW)


def test_the_commands_that_start_refuse_before_they_listen_or_connect(server: ConsortiumHome, home: ClientHome) -> None:
    server.coordinator_key.write_bytes(b"")
    started = CliRunner().invoke(server_commands, ["start", "--home", str(server.path)])
    assert isinstance(started.exception, TrustError)
    assert not (server.path / "flower.db").exists()
    home.roster.write_bytes(b"\xff\xfe")
    started = CliRunner().invoke(client, ["start", "--home", str(home.path), "--data", f"rows={home.path}"])
    assert isinstance(started.exception, TrustError)
