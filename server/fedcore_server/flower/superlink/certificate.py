"""Checks of the server's certificate before it listens."""

from __future__ import annotations

import datetime
import ipaddress
import stat
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from fedcore.errors import DeploymentError


def check_certificate(certificate: Path, key: Path, *, name: str | None, now: datetime.datetime) -> None:
    """Check that certificate and key exist, belong together, are valid now, and that nobody else can read the key.

    Args:
        name: The host name or address that clients connect to; the certificate must name it. None: not checked.

    Raises:
        DeploymentError: One of these does not hold.
    """
    found = _certificate(certificate)
    if now < found.not_valid_before_utc or now >= found.not_valid_after_utc:
        raise DeploymentError(
            f"the certificate {certificate} is valid from {found.not_valid_before_utc:%Y-%m-%d} until "
            f"{found.not_valid_after_utc:%Y-%m-%d}, and today is {now:%Y-%m-%d}: make a new one, or correct the clock"
        )
    if _public_key(key) != found.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo):
        raise DeploymentError(f"the key {key} is not that of the certificate {certificate}: use the pair made together")
    if name is not None and _plain(name) not in (names := _names(found)):
        raise DeploymentError(
            f"the certificate {certificate} is for {', '.join(sorted(names)) or 'no name'}, and clients connect to "
            f"{name}: make one whose subject alternative names include it"
        )


def names_of(certificate: Path) -> set[str]:
    """Host names and addresses that a certificate is for.

    Raises:
        DeploymentError: It cannot be read.
    """
    return _names(_certificate(certificate))


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise DeploymentError(f"the certificate {path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise DeploymentError(f"{path} holds no certificate in PEM format") from None


def _public_key(path: Path) -> bytes:
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise DeploymentError(f"others may read the private key {path}: chmod 600 {path}")
        key = load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise DeploymentError(f"the private key {path} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError):
        raise DeploymentError(f"{path} holds no private key in PEM format without a passphrase") from None
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _names(certificate: x509.Certificate) -> set[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    addresses = {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    return addresses | {_plain(name) for name in names.get_values_for_type(x509.DNSName)}


def _plain(name: str) -> str:
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower()
