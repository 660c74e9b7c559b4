"""An invitation admits one client once, and its answer is bound to both."""

import json
from datetime import timedelta

import pytest

from fedcore.errors import TrustError
from fedcore.trust.identity import FlowerKey, Identity
from fedcore.trust.invitation import Invitation, JoinResponse
from fedcore_server.consortium.certificates import Authority, certificate_pem, new_key
from tests.trust.builders import NOW, altered, authority, build_invitation, build_response


def test_an_invitation_comes_back_as_it_was(tmp_path):
    invitation = build_invitation()
    assert Invitation.from_json(invitation.to_json()) == invitation
    (tmp_path / "file").write_text(invitation.to_json())
    assert Invitation.from_file(tmp_path / "file") == invitation


def test_a_response_comes_back_as_it_was_and_holds_no_secret(tmp_path):
    response = build_response()
    assert JoinResponse.from_json(response.to_json()) == response
    (tmp_path / "file").write_text(response.to_json())
    assert JoinResponse.from_file(tmp_path / "file") == response
    assert json.loads(build_invitation().to_json())["token"] not in response.to_json()


def test_the_token_is_not_shown():
    assert "token" not in repr(build_invitation())


def test_an_honest_response_is_accepted():
    build_response().verify(build_invitation())


def test_the_same_keys_give_the_same_response_and_fingerprint():
    identity, flower_key = Identity.create("hospital-a"), FlowerKey.create()
    one, two = (build_response(identity=identity, flower_key=flower_key) for _ in range(2))
    assert one == two
    assert one.fingerprint == two.fingerprint != build_response().fingerprint


def test_a_response_to_an_invitation_that_was_changed_on_the_way_is_refused():
    other = certificate_pem(Authority.create("heart", NOW).certificate).decode()
    for change in (
        {"server": "evil.example.org:9092"},
        {"coordinator": Identity.create("coordinator").public.key},
        {"ca_certificate": other},
        {"expires": "2027-11-29T12:00:00+00:00"},
        {"token": bytes(16)},
    ):
        with pytest.raises(TrustError, match="does not answer the invitation that is open"):
            build_response(build_invitation(**change)).verify(build_invitation())


def test_a_response_of_another_client_or_consortium_is_refused():
    with pytest.raises(TrustError, match="the response is by hospital-b for heart"):
        build_response(build_invitation(client="hospital-b")).verify(build_invitation())
    with pytest.raises(TrustError, match="the response is by hospital-a for lung"):
        build_response(build_invitation(consortium="lung")).verify(build_invitation())


def test_keys_that_were_swapped_without_the_token_are_refused():
    for change in ({"identity_key": bytes(32)}, {"flower_key": FlowerKey.create().public_bytes}, {"token_tag": b"x"}):
        with pytest.raises(TrustError, match="changed on the way"):
            build_response().model_copy(update=change).verify(build_invitation())


def test_a_key_that_the_client_does_not_hold_is_refused_even_with_the_token():
    # Whoever read the invitation can make the tag for somebody else's key, but no signature with it.
    victim, thief = Identity.create("hospital-a"), Identity.create("hospital-a")
    flower_key = FlowerKey.create()
    honest = build_response(identity=victim, flower_key=flower_key)
    stolen = honest.model_copy(update={"proof": build_response(identity=thief, flower_key=flower_key).proof})
    with pytest.raises(TrustError, match="not by hospital-a"):
        stolen.verify(build_invitation())


def test_an_invitation_expires_to_the_second():
    end = NOW + timedelta(days=7)
    build_invitation().check_current(end - timedelta(seconds=1))
    with pytest.raises(TrustError, match=r"expired at 2026-11-29.*invite hospital-a --again"):
        build_invitation().check_current(end)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"consortium": "../../x"}, "expected a name"),
        ({"client": "../../x"}, "expected a name"),
        ({"client": "coordinator"}, "server's own name"),
        ({"client": ["a"]}, "a text at client"),
        ({"server": "fl.example.org"}, "HOST:PORT"),
        ({"server": "\ud800:1"}, "a text at server"),
        ({"ca_certificate": "x"}, "authority's certificate"),
        ({"ca_certificate": "\ud800"}, "a text at ca_certificate"),
        ({"ca_certificate": "x" * 20_000}, "a text at ca_certificate"),
        ({"coordinator": "AAAA"}, "expected 32 bytes, found 3"),
        ({"token": "AAAA"}, "expected 16 bytes, found 3"),
        ({"token": "é"}, "Base64 at token"),
        ({"expires": "tomorrow"}, "expected a moment"),
        ({"expires": "2026-11-29T12:00:00"}, "with its offset"),
        ({"expires": "0001-01-01T00:00:00+23:00"}, "expected a moment"),
        ({"expires": 5}, "a text at expires"),
        ({"token": None}, "exactly the keys"),
        ({"command": "rm"}, "exactly the keys"),
        ({"schema": "fedcore-invitation/2"}, "schema fedcore-invitation/1"),
        ({"schema": None}, "schema fedcore-invitation/1"),
    ],
)
def test_what_is_odd_in_an_invitation_is_refused(change, message):
    with pytest.raises(TrustError, match=message):
        Invitation.from_json(altered(build_invitation().to_json(), **change))


def test_an_authority_must_be_one_and_alone():
    host = Authority.create("heart", NOW)
    server = certificate_pem(host.issue(new_key().public_key(), "heart", "localhost", NOW)).decode()
    for wrong in (server, authority() * 2, authority() + server, authority() + "x", "# note\n" + authority()):
        with pytest.raises(TrustError, match="authority's certificate"):
            build_invitation(ca_certificate=wrong)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"client": "../../x"}, "expected a name"),
        ({"consortium": "A"}, "expected a name"),
        ({"identity_key": "AAAA"}, "expected 32 bytes"),
        ({"flower_key": "AAAA"}, "Flower key of hospital-a"),
        ({"proof": "not base64"}, "Base64 at proof"),
        ({"token_tag": {}}, "a text at token_tag"),
        ({"proof": None}, "exactly the keys"),
        ({"admin": True}, "exactly the keys"),
        ({"schema": "fedcore-invitation/1"}, "schema fedcore-join-response/1"),
    ],
)
def test_what_is_odd_in_a_response_is_refused(change, message):
    with pytest.raises(TrustError, match=message):
        JoinResponse.from_json(altered(build_response().to_json(), **change))


@pytest.mark.parametrize("kind", [Invitation, JoinResponse])
def test_files_that_are_absent_or_huge_are_refused(tmp_path, kind):
    with pytest.raises(TrustError, match="cannot be read: No such file"):
        kind.from_file(tmp_path / "absent")
    with pytest.raises(TrustError, match="cannot be read: Is a directory"):
        kind.from_file(tmp_path)
    (tmp_path / "huge").write_bytes(b" " * 10_000_000)
    with pytest.raises(TrustError, match="at most 65536 bytes"):
        kind.from_file(tmp_path / "huge")
    with pytest.raises(TrustError, match="at most 65536 bytes"):
        kind.from_json(" " * 70_000)


def test_a_refusal_never_repeats_the_token():
    text = build_invitation().to_json()
    token = json.loads(text)["token"]
    for wrong in (altered(text, token=token + "="), altered(text, token=[token]), altered(text, x=token), text + token):
        with pytest.raises(TrustError) as caught:
            Invitation.from_json(wrong)
        assert token not in str(caught.value)
