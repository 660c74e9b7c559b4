"""An invitation into a consortium, and its answer.

The invitation carries what a client must pin, and a token that admits once. The answer is bound to every
field of the invitation as the client saw it: a key or address swapped on the way is found when
the client is admitted, and the words compared by phone bind the answer to the client.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import ClassVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from pydantic import Field

from fedcore.errors import TrustError
from fedcore.trust.address import parse_address
from fedcore.trust.authority import check_authority
from fedcore.trust.document import Document, Raw, Text, canonical, encode
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

TOKEN_BYTES = 16


class Invitation(Document):
    """What one client needs to join, once.

    Attributes:
        ca_certificate: The authority of the server's certificate, in PEM.
        coordinator: Raw Ed25519 public key of the roster's signer, 32 bytes.
        token: 16 random bytes; their holder can ask to be admitted.
        expires: Moment such as ``2026-11-29T12:00:00+00:00``.
    """

    what: ClassVar = "the invitation"
    form: ClassVar = "fedcore-invitation/1"

    consortium: Text
    client: Text
    server: Text
    ca_certificate: Text
    coordinator: Raw
    expires: Text
    token: Raw = Field(repr=False)

    def model_post_init(self, _: object) -> None:
        check_name(self.consortium)
        check_client_name(self.client)
        parse_address(self.server)
        check_authority(self.ca_certificate)
        check_identity_key(self.coordinator, of=COORDINATOR)
        if len(self.token) != TOKEN_BYTES:
            raise TrustError(f"the invitation's token: expected {TOKEN_BYTES} bytes, found {len(self.token)}")
        parse_moment(self.expires)

    @property
    def digest(self) -> str:
        return hashlib.sha256(canonical(self.model_dump(exclude={"token"}), domain="fedcore invitation 1")).hexdigest()

    def check_current(self, now: datetime) -> None:
        """Refuse an expired invitation; raises `TrustError`."""
        if now >= parse_moment(self.expires):
            raise TrustError(
                f"the invitation of {self.client} expired at {self.expires} (it is {now.isoformat(timespec='seconds')} "
                f"here); the operator makes another with: fedcore consortium invite {self.client} --again"
            )


class JoinResponse(Document):
    """A client's answer to its invitation: its public keys.

    Attributes:
        identity_key: Raw Ed25519 public key, 32 bytes.
        flower_key: P-384 public key in PEM.
        proof: Ed25519 signature over keys and invitation: the client has the identity's private key.
        token_tag: HMAC-SHA256 of the same under the invitation's token: the client was invited.
    """

    what: ClassVar = "the response"
    form: ClassVar = "fedcore-join-response/1"

    consortium: Text
    client: Text
    identity_key: Raw
    flower_key: Raw
    proof: Raw
    token_tag: Raw

    def model_post_init(self, _: object) -> None:
        check_name(self.consortium)
        check_client_name(self.client)
        check_identity_key(self.identity_key, of=self.client)
        check_flower_key(self.flower_key, of=self.client)

    @classmethod
    def create(cls, invitation: Invitation, identity: Identity, flower_key: FlowerKey) -> JoinResponse:
        bound = _bound(invitation, identity.public.key, flower_key.public_bytes)
        return cls(
            consortium=invitation.consortium,
            client=invitation.client,
            identity_key=identity.public.key,
            flower_key=flower_key.public_bytes,
            proof=identity.sign(bound),
            token_tag=_hmac(invitation, bound).finalize(),
        )

    @property
    def fingerprint(self) -> str:
        """The words to compare by phone."""
        return words(self.identity_key + self.flower_key)

    def verify(self, invitation: Invitation) -> None:
        """Check that this answers that invitation with the identity's private key; raises `TrustError` if not."""
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
