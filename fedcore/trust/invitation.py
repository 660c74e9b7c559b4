"""An invitation into a consortium, and its answer.

The invitation carries what a client must pin, and a token that admits once. The answer is bound to every
field of the invitation as the client saw it: whoever swaps a key or an address on the way is found out when
the client is admitted, and the words compared on the phone bind the answer to the client.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from fedcore.errors import TrustError
from fedcore.trust.address import parse_address
from fedcore.trust.authority import check_authority
from fedcore.trust.document import Document, canonical, encode, read_bounded
from fedcore.trust.fingerprint import words
from fedcore.trust.identity import (
    COORDINATOR,
    FlowerKey,
    Identity,
    PublicIdentity,
    check_client_name,
    check_flower_key,
    check_identity_key,
    check_name,
)
from fedcore.trust.moment import parse_moment

_MAX_BYTES = 65_536
TOKEN_BYTES = 16
_INVITATION, _RESPONSE = "fedcore-invitation/1", "fedcore-join-response/1"
_INVITATION_KEYS = ("consortium", "client", "server", "ca_certificate", "coordinator", "token", "expires")
_RESPONSE_KEYS = ("consortium", "client", "identity_key", "flower_key", "proof", "token_tag")


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """What one client needs to join, once.

    Attributes:
        server: ``HOST:PORT`` as clients reach it.
        ca_certificate: The authority that vouches for the server's certificate, in PEM.
        coordinator: Raw Ed25519 public key of the roster's signer, 32 bytes.
        token: 16 random bytes; whoever has them can ask to be admitted.
        expires: Moment such as ``2026-11-29T12:00:00+00:00``.
    """

    consortium: str
    client: str
    server: str
    ca_certificate: str
    coordinator: bytes
    token: bytes = field(repr=False)
    expires: str

    def __post_init__(self) -> None:
        check_name(self.consortium)
        check_client_name(self.client)
        parse_address(self.server)
        check_authority(self.ca_certificate)
        check_identity_key(self.coordinator, of=COORDINATOR)
        if len(self.token) != TOKEN_BYTES:
            raise TrustError(f"the invitation's token: expected {TOKEN_BYTES} bytes, found {len(self.token)}")
        parse_moment(self.expires)

    @classmethod
    def from_json(cls, text: str | bytes) -> Invitation:
        """Read what `to_json` wrote.

        Raises:
            TrustError: It is anything else.
        """
        document = Document.parse(
            text, what="the invitation", schema=_INVITATION, keys=_INVITATION_KEYS, max_bytes=_MAX_BYTES
        )
        return cls(
            consortium=document.text("consortium"),
            client=document.text("client"),
            server=document.text("server"),
            ca_certificate=document.text("ca_certificate"),
            coordinator=document.raw("coordinator"),
            token=document.raw("token"),
            expires=document.text("expires"),
        )

    @classmethod
    def read(cls, path: Path) -> Invitation:
        """Read a file of it; raises as `from_json`."""
        return cls.from_json(read_bounded(path, what="the invitation", max_bytes=_MAX_BYTES))

    def to_json(self) -> str:
        """The invitation as one small file; keep it secret until it is used."""
        content = self._public_content() | {"token": encode(self.token)}
        return json.dumps({"schema": _INVITATION} | content, indent=1) + "\n"

    @property
    def digest(self) -> str:
        """SHA-256 of everything but the token, in hexadecimal digits."""
        return hashlib.sha256(canonical(self._public_content(), domain="fedcore invitation 1")).hexdigest()

    def check_current(self, now: datetime) -> None:
        """Refuse an invitation that has expired.

        Raises:
            TrustError: It has.
        """
        if now >= parse_moment(self.expires):
            raise TrustError(
                f"the invitation of {self.client} expired at {self.expires} (it is {now.isoformat(timespec='seconds')} "
                f"here); the operator makes another with: fedcore consortium invite {self.client} --again"
            )

    def _public_content(self) -> dict[str, str]:
        return {
            "consortium": self.consortium,
            "client": self.client,
            "server": self.server,
            "ca_certificate": self.ca_certificate,
            "coordinator": encode(self.coordinator),
            "expires": self.expires,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinResponse:
    """A client's answer to its invitation: its public keys.

    Attributes:
        identity_key: Raw Ed25519 public key, 32 bytes.
        flower_key: P-384 public key in PEM.
        proof: Ed25519 signature over keys and invitation: the client has the identity's private key.
        token_tag: HMAC-SHA256 of the same under the invitation's token: the client was invited.
    """

    consortium: str
    client: str
    identity_key: bytes
    flower_key: bytes
    proof: bytes
    token_tag: bytes

    def __post_init__(self) -> None:
        check_name(self.consortium)
        check_client_name(self.client)
        check_identity_key(self.identity_key, of=self.client)
        check_flower_key(self.flower_key, of=self.client)

    @classmethod
    def create(cls, invitation: Invitation, identity: Identity, flower_key: FlowerKey) -> JoinResponse:
        """Answer an invitation; the same keys give the same answer."""
        bound = _bound(invitation, identity.public.key, flower_key.public_bytes)
        return cls(
            consortium=invitation.consortium,
            client=invitation.client,
            identity_key=identity.public.key,
            flower_key=flower_key.public_bytes,
            proof=identity.sign(bound),
            token_tag=_hmac(invitation, bound).finalize(),
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> JoinResponse:
        """Read what `to_json` wrote.

        Raises:
            TrustError: It is anything else.
        """
        document = Document.parse(
            text, what="the response", schema=_RESPONSE, keys=_RESPONSE_KEYS, max_bytes=_MAX_BYTES
        )
        return cls(
            consortium=document.text("consortium"),
            client=document.text("client"),
            identity_key=document.raw("identity_key"),
            flower_key=document.raw("flower_key"),
            proof=document.raw("proof"),
            token_tag=document.raw("token_tag"),
        )

    @classmethod
    def read(cls, path: Path) -> JoinResponse:
        """Read a file of it; raises as `from_json`."""
        return cls.from_json(read_bounded(path, what="the response", max_bytes=_MAX_BYTES))

    def to_json(self) -> str:
        """The answer as one small file, without a secret in it."""
        content = {
            "schema": _RESPONSE,
            "consortium": self.consortium,
            "client": self.client,
            "identity_key": encode(self.identity_key),
            "flower_key": encode(self.flower_key),
            "proof": encode(self.proof),
            "token_tag": encode(self.token_tag),
        }
        return json.dumps(content, indent=1) + "\n"

    @property
    def fingerprint(self) -> str:
        """The words to compare on the phone."""
        return words(self.identity_key + self.flower_key)

    def verify(self, invitation: Invitation) -> None:
        """Check that this answers just that invitation, by whoever holds the identity's private key.

        Raises:
            TrustError: It does not.
        """
        if (self.consortium, self.client) != (invitation.consortium, invitation.client):
            raise TrustError(
                f"the response is by {self.client} for {self.consortium}; "
                f"the invitation was for {invitation.client} into {invitation.consortium}"
            )
        bound = _bound(invitation, self.identity_key, self.flower_key)
        try:
            _hmac(invitation, bound).verify(self.token_tag)
        except InvalidSignature as error:
            raise TrustError(
                f"the response of {self.client} does not answer the invitation that is open: it answers an older one, "
                "or invitation or response were changed on the way; invite the client again over another channel"
            ) from error
        PublicIdentity(name=self.client, key=self.identity_key).verify(self.proof, bound)


def _bound(invitation: Invitation, identity_key: bytes, flower_key: bytes) -> bytes:
    content = {
        "invitation": invitation.digest,
        "identity_key": encode(identity_key),
        "flower_key": encode(flower_key),
    }
    return canonical(content, domain="fedcore join response 1")


def _hmac(invitation: Invitation, bound: bytes) -> HMAC:
    tag = HMAC(invitation.token, SHA256())
    tag.update(bound)
    return tag
