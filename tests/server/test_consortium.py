"""A consortium on disk: founded whole, changed under a lock, and admitting nobody who was not invited."""

import stat
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest

from fedcore.errors import StorageError, TrustError
from fedcore.storage import files
from fedcore.trust.identity import FlowerKey, Identity
from fedcore.trust.invitation import Invitation
from fedcore.trust.roster import Roster
from fedcore_server.consortium import members as verbs
from fedcore_server.consortium.home import ConsortiumHome
from fedcore_server.consortium.members import admit, check_response, init, invite, remove, renew_certificate
from fedcore_server.consortium.summary import show
from tests.trust.builders import build_response, environment, welcome

NOW = datetime.now(UTC)
PRIVATE = ("ca.key", "server.key", "coordinator.key")


@pytest.fixture
def home(tmp_path):
    init(tmp_path / "federation", "heart", "fl.example.org:9092")
    return tmp_path / "federation"


def contents(directory):
    return {path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_founded_home_holds_all_that_a_server_needs(home):
    at = ConsortiumHome(home)
    assert at.settings().name == "heart"
    assert at.settings().address == "fl.example.org:9092"
    assert at.roster() == Roster.read((home / "roster.json").read_text(), at.coordinator().public.key)
    assert (at.roster().version, at.roster().members) == (1, ())
    names = {path.name for path in home.iterdir()}
    assert names == {"consortium.toml", "ca.crt", "server.crt", *PRIVATE, "roster.json", "invitations"}


def test_home_and_keys_are_for_their_owner_only(home):
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "invitations").stat().st_mode) == 0o700
    invite(home, "hospital-a")
    for name in (*PRIVATE, "invitations/hospital-a.json"):
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o600


def test_a_home_is_founded_once(home):
    before = contents(home)
    with pytest.raises(TrustError, match="holds the consortium 'heart' already"):
        init(home, "lung", "fl.example.org:9092")
    assert contents(home) == before


@pytest.mark.parametrize("name", ["ca.key", "coordinator.key", "server.key", "roster.json"])
def test_a_home_that_lost_its_settings_is_not_founded_anew(home, name):
    kept = (home / name).read_bytes()
    for path in list(home.glob("*.*")):
        if path.name != name:
            path.unlink()
    with pytest.raises(TrustError, match=f"{name} is there, but no consortium.toml"):
        init(home, "heart", "fl.example.org:9092")
    assert (home / name).read_bytes() == kept


@pytest.mark.parametrize(
    ("name", "address", "message"),
    [
        ("../../x", "fl.example.org:9092", "expected a name"),
        ("Heart", "fl.example.org:9092", "expected a name"),
        ("heart", "fl.example.org", "HOST:PORT"),
        ("heart", "0.0.0.0:9092", "as clients reach it"),
    ],
)
def test_a_consortium_of_no_name_or_address_is_not_founded(tmp_path, name, address, message):
    with pytest.raises(TrustError, match=message):
        init(tmp_path / "federation", name, address)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failing", range(7))
@pytest.mark.parametrize("there_before", [True, False])
def test_a_founding_that_fails_leaves_nothing(tmp_path, monkeypatch, failing, there_before):
    from fedcore.trust import private_file

    calls, real = iter(range(100)), private_file.os.fsync

    def full(descriptor):
        if next(calls) == failing:
            raise OSError(28, "No space left on device")
        real(descriptor)

    home = tmp_path / "federation"
    if there_before:
        home.mkdir()
        (home / "notes.txt").write_text("mine")
    monkeypatch.setattr(private_file.os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        init(home, "heart", "fl.example.org:9092")
    assert [path.name for path in tmp_path.rglob("*")] == (["federation", "notes.txt"] if there_before else [])
    init(home, "heart", "fl.example.org:9092")


def test_an_invited_client_is_admitted_once_compared(home):
    invitation = invite(home, "hospital-a")
    response = build_response(invitation)
    check_response(home, response)
    roster = admit(home, response, now=NOW)
    assert roster == ConsortiumHome(home).roster()
    assert roster.version == 2
    member = roster.member("hospital-a")
    assert (member.identity_key, member.flower_key) == (response.identity_key, response.flower_key)
    assert member.fingerprint == response.fingerprint
    assert member.admitted == NOW.date().isoformat()
    assert list((home / "invitations").iterdir()) == []


def test_an_invitation_names_the_server_the_authority_and_the_coordinator(home):
    invitation = invite(home, "hospital-a", 3, now=NOW)
    at = ConsortiumHome(home)
    assert invitation.ca_certificate == (home / "ca.crt").read_text()
    assert invitation.coordinator == at.coordinator().public.key
    assert invitation.server == "fl.example.org:9092"
    assert datetime.fromisoformat(invitation.expires) == (NOW + timedelta(days=3)).replace(microsecond=0)
    assert len({invite(home, f"hospital-{n}").token for n in range(5)}) == 5


def test_a_response_is_admitted_only_once(home):
    response = welcome(home)
    with pytest.raises(TrustError, match="hospital-a has been a member since"):
        admit(home, response)
    remove(home, "hospital-a")
    with pytest.raises(TrustError, match=r"no open invitation: .* each admits once"):
        admit(home, response)
    invite(home, "hospital-a")
    with pytest.raises(TrustError, match="answers an older one"):
        admit(home, response)


def test_an_older_invitation_is_worthless_once_there_is_a_newer(home):
    old = build_response(invite(home, "hospital-a"))
    new = build_response(invite(home, "hospital-a", again=True))
    with pytest.raises(TrustError, match="answers an older one"):
        admit(home, old)
    admit(home, new)


def test_an_expired_invitation_admits_nobody(home):
    response = build_response(invite(home, "hospital-a", 1, now=NOW - timedelta(days=2)))
    with pytest.raises(TrustError, match="expired at"):
        admit(home, response)
    assert ConsortiumHome(home).roster().version == 1


def test_responses_that_are_not_the_invited_client_s_are_refused(home, tmp_path):
    invitation = invite(home, "hospital-a")
    stranger = build_response(Invitation.from_json(invitation.to_json().replace("hospital-a", "hospital-b")))
    with pytest.raises(TrustError, match="hospital-b has no open invitation"):
        admit(home, stranger)
    init(tmp_path / "other", "heart", "fl.example.org:9092")
    elsewhere = build_response(invite(tmp_path / "other", "hospital-a"))
    with pytest.raises(TrustError, match="does not answer the invitation that is open"):
        admit(home, elsewhere)
    assert ConsortiumHome(home).roster().members == ()
    admit(home, build_response(invitation))


def test_keys_that_are_on_the_roster_are_refused_under_another_name(home):
    identity, flower_key = Identity.create("a"), FlowerKey.create()
    admit(home, build_response(invite(home, "a"), identity=identity, flower_key=flower_key))
    invitation = invite(home, "b")
    with pytest.raises(TrustError, match="same identity key"):
        admit(home, build_response(invitation, identity=identity))
    with pytest.raises(TrustError, match="same Flower key"):
        admit(home, build_response(invitation, flower_key=flower_key))
    with pytest.raises(TrustError, match="same identity key"):
        admit(home, build_response(invitation, identity=ConsortiumHome(home).coordinator()))
    assert [member.name for member in ConsortiumHome(home).roster().members] == ["a"]


def test_inviting_the_invited_or_a_member_needs_again(home):
    invite(home, "hospital-a")
    with pytest.raises(TrustError, match=r"is invited already, until .* --again"):
        invite(home, "hospital-a")
    admit(home, build_response(invite(home, "hospital-a", again=True)))
    with pytest.raises(TrustError, match=r"has been a member since .* --again"):
        invite(home, "hospital-a")


def test_a_member_comes_with_new_keys_by_again_remove_and_admit(home):
    old = welcome(home)
    new = build_response(invite(home, "hospital-a", again=True))
    with pytest.raises(TrustError, match="fedcore consortium remove hospital-a"):
        admit(home, new)
    remove(home, "hospital-a")
    roster = admit(home, new)
    assert roster.member("hospital-a").fingerprint == new.fingerprint != old.fingerprint
    assert roster.version == 4


def test_a_removed_client_is_gone_in_the_next_version(home):
    welcome(home, "a")
    welcome(home, "b")
    assert [member.name for member in remove(home, "a").members] == ["b"]
    assert ConsortiumHome(home).roster().version == 4
    with pytest.raises(TrustError, match="no member 'a'; members are: b"):
        remove(home, "a")


def test_removing_one_who_is_only_invited_withdraws_the_invitation(home):
    response = build_response(invite(home, "hospital-a"))
    assert remove(home, "hospital-a").version == 1
    with pytest.raises(TrustError, match="no open invitation"):
        admit(home, response)


@pytest.mark.parametrize("client", ["../../x", "", "a/b", ".x", "coordinator", "x" * 65, "A", "a\0"])
def test_names_that_would_leave_the_home_are_refused(home, client):
    before = contents(home)
    for verb in (invite, remove):
        with pytest.raises(TrustError, match="name"):
            verb(home, client)
    assert {path for path in contents(home) if path.name != "roster.lock"} == set(before)


@pytest.mark.parametrize("days", [0, -1, 91])
def test_an_invitation_is_valid_for_days_not_years(home, days):
    with pytest.raises(TrustError, match="valid for 1 to 90 days"):
        invite(home, "hospital-a", days)


def test_every_verb_needs_a_consortium(tmp_path):
    response = build_response()
    for verb in (
        lambda: invite(tmp_path, "a"),
        lambda: admit(tmp_path, response),
        lambda: check_response(tmp_path, response),
        lambda: remove(tmp_path, "a"),
        lambda: renew_certificate(tmp_path),
        lambda: show(tmp_path),
    ):
        with pytest.raises(TrustError, match=r"holds no consortium: .*fedcore consortium init"):
            verb()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name = ", "is not TOML"),
        (b"\xff", "is not TOML"),
        (b'name = "heart"', "exactly the keys"),
        (b'name = 5\naddress = "a:1"', "a text at name"),
        (b'name = "../x"\naddress = "a:1"', "expected a name"),
        (b'name = "heart"\naddress = "a"', "HOST:PORT"),
    ],
)
def test_damaged_settings_are_refused(home, content, message):
    (home / "consortium.toml").write_bytes(content)
    with pytest.raises(TrustError, match=message):
        invite(home, "a")


def test_a_roster_that_somebody_else_wrote_is_refused(home, tmp_path):
    init(tmp_path / "other", "heart", "fl.example.org:9092")
    (home / "roster.json").write_bytes((tmp_path / "other" / "roster.json").read_bytes())
    for verb in (lambda: show(home), lambda: invite(home, "a"), lambda: remove(home, "a")):
        with pytest.raises(TrustError, match="not by coordinator"):
            verb()


def test_keys_and_invitations_that_others_may_read_are_refused(home):
    response = build_response(invite(home, "hospital-a"))
    (home / "invitations" / "hospital-a.json").chmod(0o644)
    with pytest.raises(TrustError, match="may be used by others"):
        admit(home, response)
    (home / "invitations" / "hospital-a.json").chmod(0o600)
    for name, verb in (("coordinator.key", lambda: admit(home, response)), ("ca.key", lambda: renew_certificate(home))):
        (home / name).chmod(0o640)
        with pytest.raises(TrustError, match="found 0640"):
            verb()
        (home / name).chmod(0o600)
    admit(home, response)


def test_a_full_disk_admits_nobody_and_costs_no_invitation(home, monkeypatch):
    response = build_response(invite(home, "hospital-a"))
    before = (home / "roster.json").read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(StorageError, match="disk is full"):
            admit(home, response)
    assert (home / "roster.json").read_bytes() == before
    assert admit(home, response).version == 2


def test_an_invitation_that_cannot_be_kept_is_not_given_out(home, tmp_path, monkeypatch):
    def full(path, _):
        raise StorageError(f"{path} could not be written: the disk is full")

    monkeypatch.setattr(verbs, "replace_private", full)
    with pytest.raises(StorageError, match="disk is full"):
        invite(home, "hospital-a", out=tmp_path / "invite.json")
    assert not (tmp_path / "invite.json").exists()


def test_an_invitation_for_the_client_is_private_and_overwrites_nothing(home, tmp_path):
    out = tmp_path / "invite.json"
    invitation = invite(home, "hospital-a", out=out)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert Invitation.from_file(out) == invitation
    with pytest.raises(TrustError, match="exists, and is never overwritten"):
        invite(home, "hospital-b", out=out)
    assert ConsortiumHome(home).invitation("hospital-b") is None
    assert Invitation.from_file(out) != invite(home, "hospital-a", again=True, out=out) == Invitation.from_file(out)


def test_an_invitation_is_not_written_through_a_link(home, tmp_path):
    (tmp_path / "invite.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TrustError, match="exists"):
        invite(home, "hospital-a", out=tmp_path / "invite.json")
    assert not (tmp_path / "elsewhere").exists()


WELCOME = """
import sys
from pathlib import Path
from fedcore.trust.identity import FlowerKey, Identity
from fedcore.trust.invitation import JoinResponse
from fedcore_server.consortium.members import admit, invite

home = Path(sys.argv[1])
for client in sys.argv[2:]:
    admit(home, JoinResponse.create(invite(home, client), Identity.create(client), FlowerKey.create()))
"""


def test_changes_by_several_processes_at_once_are_all_kept(home):
    groups = [[f"client-{group}-{n}" for n in range(20)] for group in range(3)]
    workers = [subprocess.Popen([sys.executable, "-c", WELCOME, home, *group], env=environment()) for group in groups]
    assert [worker.wait(timeout=60) for worker in workers] == [0] * 3
    roster = ConsortiumHome(home).roster()
    assert {member.name for member in roster.members} == {name for group in groups for name in group}
    assert roster.version == 61


def test_one_invitation_answered_several_times_at_once_admits_one(home):
    invitation, told = invite(home, "hospital-a"), []

    def answer(response):
        try:
            admit(home, response)
        except TrustError as error:
            told.append(str(error))
        else:
            told.append("admitted")

    threads = [threading.Thread(target=answer, args=(build_response(invitation),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (len(told), told.count("admitted")) == (8, 1)
    assert ConsortiumHome(home).roster().version == 2


def test_a_reader_beside_the_writers_always_sees_a_whole_roster(home):
    stop, seen = threading.Event(), []

    def look():
        while not stop.is_set():
            seen.append(ConsortiumHome(home).roster().version)

    reader = threading.Thread(target=look)
    reader.start()
    for n in range(10):
        welcome(home, f"client-{n}")
    stop.set()
    reader.join()
    assert seen == sorted(seen)
