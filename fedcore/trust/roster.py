"""The roster: the members, signed by the coordinator."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import ClassVar

from pydantic import Field

from fedcore.errors import TrustError
from fedcore.trust.address import parse_address
from fedcore.trust.document import Document, Number, Raw, Text, canonical, decode, encode
from fedcore.trust.fingerprint import words
from fedcore.trust.identity import (
    COORDINATOR,
    Identity,
    PublicIdentity,
    check_client_name,
    check_flower_key,
    check_identity_key,
    check_name,
)
from fedcore.trust.moment import check_day

_DOMAIN = "fedcore roster 1"


class Member(Document):
    """A client of the consortium.

    Attributes:
        identity_key: Raw Ed25519 public key, 32 bytes.
        flower_key: P-384 public key in PEM, as registered with Flower.
        admitted: Day of admission, such as ``2026-11-22``.
    """

    what: ClassVar = "the roster: a member"

    name: Text
    identity_key: Raw
    flower_key: Raw
    admitted: Text

    def model_post_init(self, _: object) -> None:
        check_client_name(self.name)
        check_identity_key(self.identity_key, of=self.name)
        check_flower_key(self.flower_key, of=self.name)
        check_day(self.admitted)

    @property
    def public(self) -> PublicIdentity:
        return PublicIdentity(name=self.name, key=self.identity_key)

    @property
    def fingerprint(self) -> str:
        """The words that were compared by phone."""
        return words(self.identity_key + self.flower_key)


class Roster(Document):
    """The members of a consortium. Every change makes a new version.

    Attributes:
        version: Counts from 1; after a version, no older one is accepted.
        coordinator: Raw Ed25519 public key of the signer, 32 bytes.
        members: In the order of their names.
    """

    what: ClassVar = "the roster"
    form: ClassVar = "fedcore-roster/1"
    max_bytes: ClassVar = 4 * 1024 * 1024  # more than 7000 members

    consortium: Text
    version: Number
    server: Text
    coordinator: Raw
    members: tuple[Member, ...] = Field(strict=False)

    def model_post_init(self, _: object) -> None:
        check_name(self.consortium)
        parse_address(self.server)
        check_identity_key(self.coordinator, of=COORDINATOR)
        names = [member.name for member in self.members]
        if names != sorted(set(names)):
            raise TrustError("the roster's members: expected different names in alphabetical order")
        _check_different("identity key", [self.coordinator, *(member.identity_key for member in self.members)])
        _check_different("Flower key", [member.flower_key for member in self.members])

    @classmethod
    def read(cls, text: str | bytes, coordinator: bytes) -> Roster:
        """Read what `signed` wrote; the signature is checked first.

        Args:
            text: JSON, from anywhere.
            coordinator: The trusted key, 32 bytes.

        Raises:
            TrustError: It is malformed, or not signed with that key.
        """
        content = cls.content_of(text)
        try:
            signature = decode(content.pop("signature", None))
        except ValueError as error:
            raise TrustError(f"{cls.what}: expected {error} at signature") from error
        signer = PublicIdentity(name=COORDINATOR, key=coordinator)
        signer.verify(signature, canonical({"schema": cls.form, **content}, domain=_DOMAIN))
        roster = cls(**content)
        if roster.coordinator != coordinator:
            raise TrustError("the roster names another coordinator than the one who signed it")
        return roster

    def signed(self, identity: Identity) -> str:
        """The roster as JSON, signed by the coordinator; raises `TrustError` for another identity."""
        if identity.public.key != self.coordinator:
            raise TrustError("the roster can be signed only by the coordinator that it names; this is another key")
        content = self.to_content()
        signature = encode(identity.sign(canonical(content, domain=_DOMAIN)))
        return json.dumps(content | {"signature": signature}, indent=1) + "\n"

    def member(self, name: str) -> Member | None:
        return next((member for member in self.members if member.name == name), None)

    def with_member(self, member: Member) -> Roster:
        """The next version, with one more member; raises `TrustError` if its name or a key is on the roster."""
        if self.member(member.name) is not None:
            raise TrustError(f"{member.name} is a member already; remove it first to admit it with other keys")
        members = sorted((*self.members, member), key=lambda one: one.name)
        return self._next(tuple(members))

    def without_member(self, name: str) -> Roster:
        """The next version, without that member; raises `TrustError` if it is unknown."""
        if self.member(name) is None:
            known = ", ".join(member.name for member in self.members[:20]) or "none"
            raise TrustError(f"no member {name[:80]!r}; members are: {known}")
        return self._next(tuple(member for member in self.members if member.name != name))

    def _next(self, members: tuple[Member, ...]) -> Roster:
        return Roster(**{**dict(self), "version": self.version + 1, "members": members})


def _check_different(what: str, keys: Iterable[bytes]) -> None:
    listed = list(keys)
    if len(set(listed)) != len(listed):
        raise TrustError(f"two on the roster have the same {what}: expected one of its own for each")
