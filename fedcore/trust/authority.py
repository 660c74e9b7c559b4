"""The authority of a server's certificate, on the client's side."""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import (
    BasicConstraints,
    DuplicateExtension,
    ExtensionNotFound,
    InvalidVersion,
    load_pem_x509_certificate,
)

from fedcore.errors import TrustError


def check_authority(pem: str) -> None:
    """Refuse anything but a single certificate of an authority; raises `TrustError`."""
    try:
        certificate = load_pem_x509_certificate(pem.encode())
        constraints = certificate.extensions.get_extension_for_class(BasicConstraints).value
    except (ValueError, InvalidVersion, ExtensionNotFound, DuplicateExtension, UnsupportedAlgorithm) as error:
        raise TrustError("the authority's certificate: expected one in PEM, found something else") from error
    if not constraints.ca or certificate.public_bytes(Encoding.PEM).decode() != pem:
        raise TrustError("the authority's certificate: expected an authority's alone, found another or more")
