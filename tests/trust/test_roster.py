"""A roster is believed because of its signature, and only then read."""

import json

import pytest

from fedcore.errors import TrustError
from fedcore.trust.identity import Identity
from fedcore.trust.roster import Roster
from tests.trust.builders import altered, build_member, build_roster, coordinator, sign_as_roster


def read(text):
    return Roster.read(text, coordinator().public.key)


def content_of(*members):
    content = json.loads(build_roster(*members).signed(coordinator()))
    del content["signature"]
    return content


def test_a_roster_comes_back_as_it_was():
    roster = build_roster(build_member("a"), build_member("b"), version=7)
    assert read(roster.signed(coordinator())) == roster
    assert read(roster.signed(coordinator()).encode()) == roster


def test_each_change_is_a_new_version_in_the_order_of_names():
    b, a = build_member("b"), build_member("a")
    roster = build_roster().with_member(b).with_member(a)
    assert [member.name for member in roster.members] == ["a", "b"]
    assert roster.version == 3
    assert roster.member("a") is roster.members[0]
    assert roster.member("c") is None
    smaller = roster.without_member("a")
    assert (smaller.version, smaller.members) == (4, (b,))


def test_a_member_signs_by_its_name_and_has_a_fingerprint():
    identity = Identity.create("a")
    member = build_member("a", identity_key=identity.public.key)
    member.public.verify(identity.sign(b"x"), b"x")
    assert member.fingerprint.count("-") == 5


def test_a_roster_of_another_coordinator_is_refused():
    forger = Identity.create("coordinator")
    forged = build_roster(coordinator=forger.public.key).signed(forger)
    with pytest.raises(TrustError, match="not by coordinator"):
        read(forged)
    # One who writes the trusted key in, and signs with another.
    with pytest.raises(TrustError, match="not by coordinator"):
        read(sign_as_roster(content_of(), forger))


def test_a_roster_that_names_another_than_its_signer_is_refused():
    content = content_of() | {"coordinator": content_of()["coordinator"][:-4] + "AAA="}
    with pytest.raises(TrustError, match="names another coordinator"):
        read(sign_as_roster(content, coordinator()))


def test_a_roster_is_signed_by_its_own_coordinator_only():
    with pytest.raises(TrustError, match="signed only by the coordinator"):
        build_roster().signed(Identity.create("coordinator"))


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"consortium": "lung"},
        {"server": "evil.example.org:9092"},
        {"members": []},
        {"signature": "AAAA"},
    ],
)
def test_any_change_after_signing_is_found(change):
    text = build_roster(build_member("a")).signed(coordinator())
    with pytest.raises(TrustError, match="not by coordinator"):
        read(altered(text, **change))


def test_a_signature_for_another_purpose_is_no_signature_of_a_roster():
    content = content_of()
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    for domain in (b"", b"fedcore envelope 1\n", b"fedcore invitation 1\n"):
        signature = coordinator().sign(domain + text.encode())
        with pytest.raises(TrustError):
            read(json.dumps(content | {"signature": signature.hex()}))
        with pytest.raises(TrustError):
            coordinator().public.verify(signature, b"fedcore roster 1\n" + text.encode())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "1"}, "whole number .* at version, found another str"),
        ({"version": True}, "found another bool"),
        ({"version": 0}, "whole number from 1"),
        ({"version": 2**53}, "whole number from 1"),
        ({"consortium": "../x"}, "expected a name"),
        ({"consortium": 5}, "a text at consortium"),
        ({"server": "nowhere"}, "HOST:PORT"),
        ({"server": ""}, "a text at server"),
        ({"members": {}}, "a list at members"),
        ({"members": [5]}, "expected an object"),
        ({"members": [{}]}, "exactly the keys"),
        ({"schema": "fedcore-roster/2"}, "schema fedcore-roster/1"),
        ({"more": 1}, "exactly the keys"),
    ],
)
def test_even_a_signed_roster_must_have_the_form_of_one(change, message):
    with pytest.raises(TrustError, match=message):
        read(sign_as_roster(content_of() | change, coordinator()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "../../x"}, "expected a name"),
        ({"name": "coordinator"}, "server's own name"),
        ({"identity_key": "AAAA"}, "expected 32 bytes"),
        ({"identity_key": "=" * 44}, "Base64 at identity_key"),
        ({"identity_key": 5}, "a text at identity_key"),
        ({"identity_key": "A" * 42 + "B="}, "canonical Base64"),
        ({"flower_key": "AAAA"}, "Flower key of a"),
        ({"admitted": "22.11.2026"}, "expected a day"),
        ({"admitted": "2026-11-31"}, "expected a day"),
        ({"role": "admin"}, "exactly the keys"),
    ],
)
def test_even_a_signed_member_must_have_the_form_of_one(change, message):
    content = content_of(build_member("a"))
    content["members"][0] |= change
    with pytest.raises(TrustError, match=message):
        read(sign_as_roster(content, coordinator()))


def test_duplicates_and_disorder_are_refused():
    a, b = build_member("a"), build_member("b")
    with pytest.raises(TrustError, match="different names in alphabetical order"):
        build_roster(a, a)
    with pytest.raises(TrustError, match="different names in alphabetical order"):
        build_roster(b, a)
    with pytest.raises(TrustError, match="same identity key"):
        build_roster(a, build_member("b", identity_key=a.identity_key))
    with pytest.raises(TrustError, match="same Flower key"):
        build_roster(a, build_member("b", flower_key=a.flower_key))
    with pytest.raises(TrustError, match="same identity key"):
        build_roster(build_member("a", identity_key=coordinator().public.key))
    content = content_of(a)
    content["members"] *= 2
    with pytest.raises(TrustError, match="different names"):
        read(sign_as_roster(content, coordinator()))


def test_adding_a_member_twice_and_removing_a_stranger_are_refused():
    roster = build_roster(build_member("a"))
    with pytest.raises(TrustError, match="a is a member already; remove it first"):
        roster.with_member(build_member("a"))
    with pytest.raises(TrustError, match="no member 'b'; members are: a"):
        roster.without_member("b")
    with pytest.raises(TrustError, match="a whole number from 1 on at version"):
        build_roster(version=0)


def test_a_key_that_stands_twice_is_refused():
    text = build_roster().signed(coordinator())
    with pytest.raises(TrustError, match="expected JSON"):
        read(text.replace('"version": 1', '"version": 1, "version": 1'))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "5",
        '"x"',
        "{}",
        "[" * 100_000,
        '{"a":' * 100_000,
        b"\xff\xfe",
        "NaN",
        '{"schema": 1.5}',
        "\ufeff{}",
    ],
)
def test_what_is_no_roster_at_all_is_refused(text):
    with pytest.raises(TrustError):
        read(text)


def test_what_is_nested_deep_or_huge_is_refused():
    for depth in (100, 900, 990, 50_000):
        with pytest.raises(TrustError):
            read(altered(build_roster().signed(coordinator())).replace("[]", "[" * depth + "]" * depth))
    with pytest.raises(TrustError, match="at most 4194304 bytes"):
        read(" " * 5_000_000)
    with pytest.raises(TrustError, match="expected JSON"):
        read('{"version": ' + "9" * 5000 + "}")
