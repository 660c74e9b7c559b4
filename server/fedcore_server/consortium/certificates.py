"""The consortium's own authority, and the server certificate that it vouches for."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedcore.errors import TrustError
from fedcore.trust.private_file import read_private

AUTHORITY_DAYS, SERVER_DAYS = 5 * 365, 90
_CLOCK_SKEW = timedelta(hours=1)
_LOCAL = ("localhost", "127.0.0.1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A key on NIST P-256 and its self-signed certificate."""

    key: EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def create(cls, consortium: str, now: datetime) -> Authority:
        """Valid for five years; it can sign certificates of servers, not of other authorities."""
        key = new_key()
        name = _name(consortium, "fedcore authority")
        builder = _builder(name, name, key.public_key(), now, now + timedelta(days=AUTHORITY_DAYS))
        certificate = (
            builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .sign(key, SHA256())
        )
        return cls(key=key, certificate=certificate)

    @classmethod
    def load(cls, key: Path, certificate: Path) -> Authority:
        """Read an authority from its two files.

        Raises:
            TrustError: One is absent, damaged, or readable by others.
        """
        return cls(key=load_key(key), certificate=load_certificate(certificate))

    def issue(self, key: EllipticCurvePublicKey, consortium: str, host: str, now: datetime) -> x509.Certificate:
        """A certificate for the server on `host`, and on this machine itself, valid for 90 days.

        Raises:
            TrustError: The authority has expired.
        """
        end = self.certificate.not_valid_after_utc
        if now >= end:
            raise TrustError(
                f"the consortium's authority expired on {end.date()}, and can sign nothing any more; "
                "make a new consortium in another directory and invite the clients again"
            )
        issuer = self.certificate.subject
        builder = _builder(
            _name(consortium, "fedcore server"), issuer, key, now, min(now + timedelta(days=SERVER_DAYS), end)
        )
        return (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(_alternative_names(host), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
            .sign(self.key, SHA256())
        )


def new_key() -> EllipticCurvePrivateKey:
    return generate_private_key(SECP256R1())


def key_pem(key: EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def certificate_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def load_key(path: Path) -> EllipticCurvePrivateKey:
    """Read what `key_pem` gave.

    Raises:
        TrustError: The file is absent, readable by others, or holds no such key.
    """
    content = read_private(path, what="the key")
    try:
        key = load_pem_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise TrustError(f"the key {path}: expected a private key without a passphrase, found none") from error
    if not isinstance(key, EllipticCurvePrivateKey):
        raise TrustError(f"the key {path}: expected one on an elliptic curve, found another kind")
    return key


def load_certificate(path: Path) -> x509.Certificate:
    """Read what `certificate_pem` gave.

    Raises:
        TrustError: The file is absent or holds no certificate.
    """
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise TrustError(f"the certificate {path} cannot be read: {error.strerror or error}") from error
    except (ValueError, x509.InvalidVersion) as error:
        raise TrustError(f"the certificate {path}: expected one in PEM, found something else") from error


def _builder(
    subject: x509.Name, issuer: x509.Name, key: EllipticCurvePublicKey, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        # A client whose clock is a little behind must not take a new certificate for a future one.
        .not_valid_before(now.astimezone(UTC) - _CLOCK_SKEW)
        .not_valid_after(end.astimezone(UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(consortium: str, role: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, consortium),
            x509.NameAttribute(NameOID.COMMON_NAME, role),
        ]
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative_names(host: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([_general_name(name) for name in dict.fromkeys((host, *_LOCAL))])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
