"""Names and their keys."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP384R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
    load_ssh_private_key,
)

from fedcore.errors import TrustError
from fedcore.trust.private_file import create_private, read_private, replace_private

COORDINATOR = "coordinator"
"""The server's name as signer; no client can have it."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_KEY_BYTES = 32


def check_name(name: str) -> str:
    """Return a name that is safe as a file's name and in a log; raises `TrustError` for others."""
    if not _NAME.fullmatch(name):
        raise TrustError(
            "expected a name of at most 64 lower-case letters, digits, dots, hyphens and underscores that begins "
            f"with a letter or digit, such as hospital-a; found {name[:80]!r}"
        )
    return name


def check_client_name(name: str) -> str:
    """As `check_name`; also refuses the coordinator's name."""
    if check_name(name) == COORDINATOR:
        raise TrustError(f"{COORDINATOR!r} is the server's own name; give the client another")
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicIdentity:
    """A name and its raw Ed25519 public key, 32 bytes."""

    name: str
    key: bytes

    def __post_init__(self) -> None:
        check_name(self.name)
        check_identity_key(self.key, of=self.name)

    def verify(self, signature: bytes, data: bytes) -> None:
        """Check an Ed25519 signature (RFC 8032) over `data`; raises `TrustError` if it is not valid."""
        try:
            Ed25519PublicKey.from_public_bytes(self.key).verify(signature, data)
        except (InvalidSignature, ValueError) as error:
            raise TrustError(f"the signature is not by {self.name}, or what was signed has been changed") from error


class Identity:
    """A name and its private Ed25519 key, which never leaves the machine it was made on."""

    def __init__(self, name: str, private_key: Ed25519PrivateKey) -> None:
        self.name = check_name(name)
        self._private_key = private_key

    @classmethod
    def create(cls, name: str) -> Identity:
        return cls(name, Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path, name: str) -> Identity:
        """Read a key that `save` wrote.

        Raises:
            TrustError: The file is missing, readable by others, or not an Ed25519 key.
        """
        key = _load_key(path, load_pem_private_key, "identity key")
        if not isinstance(key, Ed25519PrivateKey):
            raise TrustError(f"the identity key {path}: expected an Ed25519 key, found another kind")
        return cls(name, key)

    def save(self, path: Path) -> None:
        """Write the key to a new file that only its owner may read, as PKCS #8 in PEM.

        Raises:
            TrustError: The file exists.
            StorageError: It cannot be written.
        """
        create_private(path, self._private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    @property
    def public(self) -> PublicIdentity:
        return PublicIdentity(name=self.name, key=self._private_key.public_key().public_bytes_raw())

    def sign(self, data: bytes) -> bytes:
        """An Ed25519 signature, 64 bytes; the same for the same data."""
        return self._private_key.sign(data)


class FlowerKey:
    """A client's NIST P-384 key, by which Flower's SuperLink identifies its node."""

    def __init__(self, private_key: EllipticCurvePrivateKey) -> None:
        self._private_key = private_key

    @classmethod
    def create(cls) -> FlowerKey:
        return cls(generate_private_key(SECP384R1()))

    @classmethod
    def load(cls, path: Path) -> FlowerKey:
        """Read a key that `save` wrote.

        Raises:
            TrustError: The file is missing, readable by others, or not a P-384 key.
        """
        key = _load_key(path, load_ssh_private_key, "Flower key")
        if not (isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP384R1)):
            raise TrustError(f"the Flower key {path}: expected a key on NIST P-384, found another kind")
        return cls(key)

    def save(self, path: Path) -> None:
        """As `Identity.save`, in OpenSSH's format, which Flower reads."""
        create_private(path, self._pem())

    def replace(self, path: Path) -> None:
        """Replace another key atomically."""
        replace_private(path, self._pem())

    def _pem(self) -> bytes:
        return self._private_key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())

    @property
    def public_bytes(self) -> bytes:
        """The public key as registered with Flower: SubjectPublicKeyInfo in PEM."""
        return _public_pem(self._private_key.public_key())


def check_identity_key(key: bytes, *, of: str) -> None:
    """Refuse bytes other than a raw Ed25519 public key; raises `TrustError`."""
    if len(key) != _KEY_BYTES:
        raise TrustError(f"the identity key of {of}: expected {_KEY_BYTES} bytes, found {len(key)}")


def check_flower_key(key: bytes, *, of: str) -> None:
    """Refuse bytes other than a P-384 public key as Flower writes it; raises `TrustError`."""
    try:
        loaded = load_pem_public_key(key)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TrustError(f"the Flower key of {of}: expected a public key in PEM, found something else") from error
    on_curve = isinstance(loaded, EllipticCurvePublicKey) and isinstance(loaded.curve, SECP384R1)
    if not on_curve or _public_pem(loaded) != key:
        raise TrustError(f"the Flower key of {of}: expected a key on NIST P-384 alone, found another or more")


def _public_pem(key: Any) -> bytes:
    pem: bytes = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


def _load_key(path: Path, load: Callable[[bytes, None], Any], what: str) -> Any:
    content = read_private(path, what=f"the {what}")
    try:
        return load(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise TrustError(f"the {what} {path}: expected a private key without a passphrase, found none") from error
