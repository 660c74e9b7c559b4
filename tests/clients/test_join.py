"""Joining makes keys where they will live, pins whom to trust, and overwrites nothing."""

import json
import stat
from datetime import timedelta

import pytest
import typer
from typer.testing import CliRunner

from fedcore.errors import StorageError, TrustError
from fedcore.trust import private_file
from fedcore.trust.identity import COORDINATOR, Identity
from fedcore.trust.invitation import JoinResponse
from fedcore_clients.agent.home import ClientHome, ClientSettings
from fedcore_clients.agent.join import join
from fedcore_clients.commands.join import join as join_command
from fedcore_server.consortium.certificates import Authority, certificate_pem
from fedcore_server.consortium.members import admit, init, invite
from tests.trust.builders import NOW, altered, authority, build_invitation, coordinator


@pytest.fixture
def home(tmp_path):
    return tmp_path / "site" / "hospital-a"


def written(tmp_path, invitation=None, name="invite.json"):
    path = tmp_path / name
    path.write_text((invitation or build_invitation()).to_json())
    return path


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def run(*arguments):
    app = typer.Typer()
    app.command()(join_command)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_a_client_that_joined_knows_itself_and_whom_to_trust(tmp_path, home):
    response = join(written(tmp_path), home, now=NOW)
    at = ClientHome(home)
    assert at.settings() == ClientSettings(name="hospital-a", consortium="heart", server="fl.example.org:9092")
    assert at.identity().public.key == response.identity_key
    assert at.identity().name == "hospital-a"
    assert at.flower().public_bytes == response.flower_key
    assert (at.coordinator().name, at.coordinator().key) == (COORDINATOR, coordinator().public.key)
    assert at.authority_certificate.read_text() == authority()
    assert JoinResponse.from_file(at.response) == response
    response.verify(build_invitation())


def test_home_and_keys_are_for_their_owner_only(tmp_path, home):
    join(written(tmp_path), home, now=NOW)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()} == {0o600}


def test_neither_token_nor_private_keys_leave(tmp_path, home):
    response = join(written(tmp_path), home, now=NOW).to_json()
    token = json.loads(build_invitation().to_json())["token"]
    assert token not in response
    assert "PRIVATE" not in response
    assert all(token.encode() not in content for content in contents(home).values())


def test_what_is_answered_is_admitted(tmp_path, home):
    init(tmp_path / "federation", "heart", "localhost:9092")
    invite(tmp_path / "federation", "hospital-a", out=tmp_path / "invite.json")
    response = join(tmp_path / "invite.json", home)
    roster = admit(tmp_path / "federation", response)
    assert roster.coordinator == ClientHome(home).coordinator().key
    assert roster.member("hospital-a").public == ClientHome(home).identity().public


def test_joining_twice_with_one_invitation_says_so(tmp_path, home):
    response = join(written(tmp_path), home, now=NOW)
    before = contents(home)
    for later in (NOW, NOW + timedelta(days=30)):
        with pytest.raises(TrustError, match=f"has joined heart with this invitation already.*{response.fingerprint}"):
            join(written(tmp_path), home, now=later)
    assert contents(home) == before


def test_a_newer_invitation_is_answered_with_the_same_identity_and_a_new_key_for_flower(tmp_path, home):
    first = join(written(tmp_path), home, now=NOW)
    newer = build_invitation(token=bytes(16), server="new.example.org:9092")
    second = join(written(tmp_path, newer), home, now=NOW)
    assert second.identity_key == first.identity_key
    assert second.flower_key == ClientHome(home).flower().public_bytes != first.flower_key
    second.verify(newer)
    assert ClientHome(home).settings().server == "new.example.org:9092"
    assert JoinResponse.from_file(ClientHome(home).response) == second


def test_a_newer_invitation_cannot_change_whom_a_client_trusts(tmp_path, home):
    join(written(tmp_path), home, now=NOW)
    before = contents(home)
    other = certificate_pem(Authority.create("heart", NOW).certificate).decode()
    for change in ({"coordinator": Identity.create(COORDINATOR).public.key}, {"ca_certificate": other}):
        forged = build_invitation(token=bytes(16), **change)
        with pytest.raises(TrustError, match="another coordinator or authority than hospital-a has trusted"):
            join(written(tmp_path, forged), home, now=NOW)
    assert contents(home) == before


@pytest.mark.parametrize("change", [{"client": "hospital-b"}, {"consortium": "lung"}])
def test_a_home_is_one_client_s_in_one_consortium(tmp_path, home, change):
    join(written(tmp_path), home, now=NOW)
    before = contents(home)
    with pytest.raises(TrustError, match=r"is the home of hospital-a in heart.*another --home"):
        join(written(tmp_path, build_invitation(**change)), home, now=NOW)
    assert contents(home) == before


def test_an_expired_invitation_leaves_nothing(tmp_path, home):
    with pytest.raises(TrustError, match=r"expired at .*invite hospital-a --again"):
        join(written(tmp_path), home, now=NOW + timedelta(days=8))
    assert not home.parent.exists()
    join(written(tmp_path), home, now=NOW)
    with pytest.raises(TrustError, match="expired at"):
        join(written(tmp_path, build_invitation(token=bytes(16))), home, now=NOW + timedelta(days=8))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"{}",
        b"[" * 50_000,
        b" " * 100_000,
        altered(build_invitation().to_json(), client="../../x").encode(),
        altered(build_invitation().to_json(), more=1).encode(),
        altered(build_invitation().to_json(), ca_certificate="x").encode(),
    ],
)
def test_a_malformed_invitation_leaves_nothing(tmp_path, home, content):
    (tmp_path / "invite.json").write_bytes(content)
    with pytest.raises(TrustError):
        join(tmp_path / "invite.json", home, now=NOW)
    assert [path.name for path in tmp_path.iterdir()] == ["invite.json"]
    with pytest.raises(TrustError, match="cannot be read"):
        join(tmp_path / "absent.json", home, now=NOW)


@pytest.mark.parametrize("failing", range(6))
def test_a_join_that_fails_leaves_nothing(tmp_path, home, monkeypatch, failing):
    calls, real = iter(range(100)), private_file.os.fsync

    def full(descriptor):
        if next(calls) == failing:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(private_file.os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        join(written(tmp_path), home, now=NOW)
    assert not home.exists()
    join(written(tmp_path), home, now=NOW)


@pytest.mark.parametrize("name", ["identity.key", "flower.key", "ca.crt", "coordinator.pub", "client.toml"])
def test_what_is_in_the_home_is_never_overwritten(tmp_path, home, name):
    home.mkdir(parents=True)
    (home / "policy.toml").write_text("mine")
    (home / name).write_text("precious")
    with pytest.raises(TrustError):
        join(written(tmp_path), home, now=NOW)
    assert contents(home) == {"policy.toml": b"mine", name: b"precious"}


def test_keys_are_not_written_through_a_link(tmp_path, home):
    home.mkdir(parents=True)
    (home / "identity.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TrustError, match="exists, and is never overwritten"):
        join(written(tmp_path), home, now=NOW)
    assert not (tmp_path / "elsewhere").exists()


def test_a_home_without_a_client_says_how_to_join(home):
    for ask in (lambda at: at.settings(), lambda at: at.identity()):
        with pytest.raises(TrustError, match="fedcore client join INVITE --home"):
            ask(ClientHome(home))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name = ", "is not TOML"),
        (b"\xff", "is not TOML"),
        (b'name = "a"', "exactly the keys"),
        (b'name = "../x"\nconsortium = "heart"\nserver = "a:1"', "expected a name"),
        (b'name = "coordinator"\nconsortium = "heart"\nserver = "a:1"', "server's own name"),
        (b'name = "a"\nconsortium = "heart"\nserver = "a"', "HOST:PORT"),
        (b'name = "a"\nconsortium = 5\nserver = "a:1"', "a text at consortium"),
    ],
)
def test_damaged_settings_are_refused(tmp_path, content, message):
    (tmp_path / "client.toml").write_bytes(content)
    with pytest.raises(TrustError, match=message):
        ClientHome(tmp_path).settings()


def test_damaged_or_widely_readable_keys_are_refused(tmp_path, home):
    join(written(tmp_path), home, now=NOW)
    at = ClientHome(home)
    for content in ("zz", "ab", "", "é"):
        at.coordinator_key.write_text(content)
        with pytest.raises(TrustError, match=r"hexadecimal|expected 32 bytes"):
            at.coordinator()
    for path, load in ((at.identity_key, at.identity), (at.flower_key, at.flower)):
        path.chmod(0o644)
        with pytest.raises(TrustError, match="chmod 600"):
            load()


@pytest.fixture
def invited(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    init(tmp_path / "federation", "heart", "localhost:9092")
    invite(tmp_path / "federation", "hospital-a", out=tmp_path / "invite.json")
    return tmp_path


def test_the_command_says_what_to_do_next(invited):
    code, told = run("invite.json", "--home", "hospital-a")
    response = JoinResponse.from_file(invited / "response-hospital-a.json")
    assert code == 0
    assert f"its fingerprint: {response.fingerprint}" in told
    assert "send response-hospital-a.json to the operator" in told
    assert "call the operator" in told
    admit(invited / "federation", response)


def test_the_command_writes_where_it_is_told(invited):
    run("invite.json", "--home", "hospital-a", "--out", "answer.json")
    assert JoinResponse.from_file(invited / "answer.json").client == "hospital-a"


def test_the_command_overwrites_nothing_and_says_where_the_response_is(invited):
    (invited / "answer.json").write_text("mine")
    with pytest.raises(TrustError, match=r"answer.json exists and .* send hospital-a/response.json"):
        run("invite.json", "--home", "hospital-a", "--out", "answer.json")
    assert (invited / "answer.json").read_text() == "mine"
    assert JoinResponse.from_file(invited / "hospital-a" / "response.json").client == "hospital-a"


def test_an_older_response_of_this_client_gives_way_to_the_new_one(invited):
    run("invite.json", "--home", "hospital-a")
    old = JoinResponse.from_file(invited / "response-hospital-a.json")
    invite(invited / "federation", "hospital-a", out=invited / "again.json", again=True)
    code, told = run("again.json", "--home", "hospital-a")
    new = JoinResponse.from_file(invited / "response-hospital-a.json")
    assert code == 0
    assert new.fingerprint in told
    assert new.fingerprint != old.fingerprint


def test_the_command_teaches_with_an_example():
    assert "fedcore client join invite-hospital-a.json --home hospital-a" in run("--help")[1]
