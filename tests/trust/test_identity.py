"""Keys are made once, kept from others, and known by their names."""

import os
import stat

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from fedcore.errors import StorageError, TrustError
from fedcore.trust.address import parse_address
from fedcore.trust.fingerprint import proquint, words
from fedcore.trust.identity import FlowerKey, Identity, PublicIdentity, check_client_name, check_flower_key, check_name
from fedcore.trust.private_file import make_private_directory, replace_private
from tests.trust.builders import build_member

KINDS = [
    (lambda: Identity.create("a"), lambda path: Identity.load(path, "a")),
    (FlowerKey.create, FlowerKey.load),
]


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_signature_is_verified_and_any_other_refused():
    alice, bob = Identity.create("alice"), Identity.create("bob")
    signature = alice.sign(b"data")
    alice.public.verify(signature, b"data")
    for signer, tag, data in [
        (alice, signature, b"other"),
        (bob, signature, b"data"),
        (alice, bytes(64), b"data"),
        (alice, signature[:-1], b"data"),
        (alice, b"", b"data"),
    ]:
        with pytest.raises(TrustError, match="not by"):
            signer.public.verify(tag, data)


def test_the_signature_is_that_of_rfc_8032():
    # RFC 8032, section 7.1, test 2.
    key = ed25519.Ed25519PrivateKey.from_private_bytes(
        bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    )
    identity = Identity("a", key)
    assert identity.public.key.hex() == "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    assert identity.sign(b"\x72").hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )


def test_an_identity_comes_back_from_disk_as_it_was(tmp_path):
    identity = Identity.create("hospital-a")
    identity.save(tmp_path / "key")
    loaded = Identity.load(tmp_path / "key", "hospital-a")
    assert loaded.public == identity.public
    assert loaded.sign(b"x") == identity.sign(b"x")


def test_a_flower_key_comes_back_from_disk_as_it_was(tmp_path):
    key = FlowerKey.create()
    key.save(tmp_path / "key")
    assert FlowerKey.load(tmp_path / "key").public_bytes == key.public_bytes


def test_flower_reads_the_key_and_registers_the_same_bytes(tmp_path):
    from flwr.supercore.primitives.asymmetric import bytes_to_public_key, public_key_to_bytes, uses_nist_ec_curve

    key = FlowerKey.create()
    key.save(tmp_path / "key")
    loaded = load_ssh_private_key((tmp_path / "key").read_bytes(), None)  # as flwr.supernode.cli does
    assert isinstance(loaded, ec.EllipticCurvePrivateKey)
    assert public_key_to_bytes(loaded.public_key()) == key.public_bytes
    assert uses_nist_ec_curve(bytes_to_public_key(key.public_bytes))


def test_flower_s_own_command_takes_the_key_file(tmp_path):
    from argparse import Namespace

    from flwr.supernode.cli.flower_supernode import _try_setup_client_authentication

    key = FlowerKey.create()
    key.save(tmp_path / "key")
    arguments = Namespace(auth_supernode_private_key=str(tmp_path / "key"), auth_supernode_public_key=None)
    _, public = _try_setup_client_authentication(arguments)
    assert public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) == key.public_bytes


@pytest.mark.parametrize(("create", "load"), KINDS)
def test_a_key_is_for_its_owner_only_whatever_the_umask(tmp_path, create, load):
    before = os.umask(0)
    try:
        create().save(tmp_path / "key")
    finally:
        os.umask(before)
    assert mode(tmp_path / "key") == 0o600


@pytest.mark.parametrize(("create", "load"), KINDS)
@pytest.mark.parametrize("wide", [0o640, 0o604, 0o620, 0o644, 0o666, 0o610])
def test_a_key_that_others_may_use_is_refused(tmp_path, create, load, wide):
    create().save(tmp_path / "key")
    (tmp_path / "key").chmod(wide)
    with pytest.raises(TrustError, match=f"found {wide:04o}.*chmod 600"):
        load(tmp_path / "key")


@pytest.mark.parametrize(("create", "load"), KINDS)
def test_a_key_is_never_overwritten(tmp_path, create, load):
    (tmp_path / "key").write_text("precious")
    with pytest.raises(TrustError, match="exists, and is never overwritten"):
        create().save(tmp_path / "key")
    assert (tmp_path / "key").read_text() == "precious"


@pytest.mark.parametrize(("create", "load"), KINDS)
def test_a_key_is_not_written_through_a_link(tmp_path, create, load):
    (tmp_path / "key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TrustError, match="exists"):
        create().save(tmp_path / "key")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(("create", "load"), KINDS)
@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff" * 100, b"-----BEGIN PRIVATE KEY-----\n\n"])
def test_a_damaged_key_is_refused(tmp_path, create, load, content):
    (tmp_path / "key").write_bytes(content)
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(TrustError, match="expected a private key without a passphrase"):
        load(tmp_path / "key")


@pytest.mark.parametrize(("create", "load"), KINDS)
def test_an_absent_a_huge_and_an_unreadable_key_are_refused(tmp_path, create, load):
    with pytest.raises(TrustError, match="found no file there"):
        load(tmp_path / "key")
    with pytest.raises(TrustError, match="cannot be read"):
        load(tmp_path)
    (tmp_path / "key").write_bytes(bytes(100_000))
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(TrustError, match="too long"):
        load(tmp_path / "key")


def write_key(path, key, *, form=PrivateFormat.PKCS8, encryption=None):
    path.write_bytes(key.private_bytes(Encoding.PEM, form, encryption or NoEncryption()))
    path.chmod(0o600)
    return path


def test_keys_of_another_kind_are_refused(tmp_path):
    with pytest.raises(TrustError, match="expected an Ed25519 key"):
        Identity.load(write_key(tmp_path / "1", ec.generate_private_key(ec.SECP384R1())), "a")
    p256 = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(TrustError, match="expected a key on NIST P-384"):
        FlowerKey.load(write_key(tmp_path / "2", p256, form=PrivateFormat.OpenSSH))
    secret = BestAvailableEncryption(b"secret")
    with pytest.raises(TrustError, match="without a passphrase"):
        Identity.load(write_key(tmp_path / "3", ed25519.Ed25519PrivateKey.generate(), encryption=secret), "a")


def test_a_key_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    from fedcore.trust import private_file

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(private_file.os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        Identity.create("a").save(tmp_path / "key")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StorageError, match="No such file"):
        Identity.create("a").save(tmp_path / "absent" / "key")


def test_a_private_file_is_replaced_whole_and_only_for_its_owner(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o666)
    replace_private(path, "new")
    assert path.read_text() == "new"
    assert mode(path) == 0o600
    (tmp_path / "directory" / "inside").mkdir(parents=True)
    with pytest.raises(StorageError, match="could not be written"):
        replace_private(tmp_path / "directory", "new")
    assert {entry.name for entry in tmp_path.iterdir()} == {"file", "directory"}


def test_a_private_directory_is_made_or_narrowed(tmp_path):
    assert make_private_directory(tmp_path / "a" / "b")
    assert mode(tmp_path / "a" / "b") == 0o700
    (tmp_path / "c").mkdir(mode=0o755)
    assert not make_private_directory(tmp_path / "c")
    assert mode(tmp_path / "c") == 0o700
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="a file is there"):
        make_private_directory(tmp_path / "file")
    with pytest.raises(StorageError, match="cannot be made"):
        make_private_directory(tmp_path / "file" / "below")


@pytest.mark.parametrize("name", ["a", "hospital-a", "0", "a.b_c-d", "x" * 64])
def test_good_names_pass(name):
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "../../x", "a/b", ".", "..", ".hidden", "-o", "_a", "A", "ä", "a b", "a\n", "a\0", "x" * 65, "a\\b", "٣"],
)
def test_names_that_are_unsafe_are_refused(name):
    with pytest.raises(TrustError, match="expected a name"):
        check_name(name)
    with pytest.raises(TrustError, match="expected a name"):
        Identity.create(name)
    with pytest.raises(TrustError, match="expected a name"):
        build_member(name, identity_key=bytes(32))


def test_a_long_name_is_not_repeated_in_full():
    with pytest.raises(TrustError) as caught:
        check_name("A" * 10_000_000)
    assert len(str(caught.value)) < 400


def test_no_client_can_have_the_coordinator_s_name():
    with pytest.raises(TrustError, match="server's own name"):
        check_client_name("coordinator")


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_an_identity_key_of_another_length_is_refused(length):
    with pytest.raises(TrustError, match=f"expected 32 bytes, found {length}"):
        PublicIdentity(name="a", key=bytes(length))


def test_flower_keys_that_flower_would_not_spell_so_are_refused():
    key = FlowerKey.create().public_bytes
    check_flower_key(key, of="a")
    other_curve = ec.generate_private_key(ec.SECP256R1()).public_key()
    other_kind = rsa.generate_private_key(65537, 2048).public_key()
    edwards = ed25519.Ed25519PrivateKey.generate().public_key()
    pems = [
        one.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) for one in (other_curve, other_kind, edwards)
    ]
    for wrong in (b"", b"x", key[:-30], b" " + key, key + key, key.replace(b"\n", b"\r\n"), *pems):
        with pytest.raises(TrustError, match="Flower key of a"):
            check_flower_key(wrong, of="a")


def test_a_proquint_spells_sixteen_bits():
    # The examples of arXiv 0901.4016, section 2: 127.0.0.1 and 63.84.220.193.
    assert "-".join(proquint(n) for n in (0x7F00, 0x0001)) == "lusab-babad"
    assert "-".join(proquint(n) for n in (0x3F54, 0xDCC1)) == "gutih-tugad"
    assert len({proquint(n) for n in range(65_536)}) == 65_536


def test_a_fingerprint_is_six_words_that_change_with_one_bit():
    assert words(b"") == words(b"")
    assert [len(word) for word in words(b"").split("-")] == [5] * 6
    assert words(b"\x00") != words(b"\x01")
    # SHA-256 of nothing begins with e3b0 c442.
    assert words(b"").startswith(f"{proquint(0xE3B0)}-{proquint(0xC442)}-")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fl.example.org:9092", ("fl.example.org", 9092)),
        ("localhost:1", ("localhost", 1)),
        ("fed_server:65535", ("fed_server", 65535)),
        ("10.0.0.7:443", ("10.0.0.7", 443)),
        ("[2001:db8::1]:443", ("2001:db8::1", 443)),
    ],
)
def test_an_address_has_a_host_and_a_port(text, expected):
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *(
            "host",
            "host:",
            ":1",
            "host:0",
            "host:65536",
            "host:01",
            "host:9092x",
            "http://host:1",
            "a/b:1",
            "ho\x00st:1",
        ),
        *("-a:1", "a-:1", "a..b:1", "999.1.1.1:1", "1.2.3:1", "::1:443", "[::1]", "[::g]:1", "[1.2.3.4.5]:1"),
        *("0.0.0.0:1", "[::]:1", "ä:1", "host:٣"),
    ],
)
def test_what_no_client_could_connect_to_is_refused(text):
    with pytest.raises(TrustError, match="HOST:PORT"):
        parse_address(text)
