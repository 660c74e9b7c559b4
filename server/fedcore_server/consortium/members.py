"""A consortium's verbs: found it, invite, admit and remove its clients.

All of them work on a home directory beside a running server, which reads the roster again when it changes.
Each change is made under a lock and lands whole or not at all.
"""

from __future__ import annotations

import contextlib
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

import tomli_w
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from fedcore.errors import TrustError
from fedcore.storage.files import write_whole
from fedcore.trust.address import parse_address
from fedcore.trust.identity import COORDINATOR, Identity, check_name
from fedcore.trust.invitation import TOKEN_BYTES, Invitation, JoinResponse
from fedcore.trust.private_file import create_private, make_private_directory, remove_if_empty, replace_private
from fedcore.trust.roster import Member, Roster
from fedcore_server.consortium.certificates import (
    Authority,
    certificate_pem,
    key_pem,
    load_certificate,
    load_key,
    new_key,
)
from fedcore_server.consortium.home import ConsortiumHome

LONGEST_VALID_DAYS = 90


def init(home: Path, name: str, address: str, *, now: datetime | None = None) -> Roster:
    """Found a consortium: an authority, the server's certificate, the coordinator's key, and an empty roster.

    Args:
        home: Directory that is absent or holds no consortium.
        address: ``HOST:PORT`` as clients will reach the server.

    Raises:
        TrustError: Name or address is malformed, or the home holds a consortium or parts of one.
        StorageError: Something cannot be written; nothing is left behind.
    """
    parse_address(address)
    at, coordinator = ConsortiumHome(home), Identity.create(COORDINATOR)
    key = coordinator.public.key
    roster = Roster(consortium=check_name(name), version=1, server=address, coordinator=key, members=())
    _check_free(at)
    with contextlib.ExitStack() as undo:
        if make_private_directory(home):
            undo.callback(remove_if_empty, home)
        if make_private_directory(at.invitations):
            undo.callback(remove_if_empty, at.invitations)
        coordinator.save(at.coordinator_key)
        undo.callback(at.coordinator_key.unlink)
        for path, content in _first_files(at, roster, coordinator, now or datetime.now(UTC)).items():
            create_private(path, content)
            undo.callback(path.unlink)
        undo.pop_all()
    return roster


def invite(
    home: Path,
    client: str,
    valid_days: int = 7,
    *,
    again: bool = False,
    out: Path | None = None,
    now: datetime | None = None,
) -> Invitation:
    """Invite a client, once: a new invitation makes an open one of the same client worthless.

    Args:
        again: Whether a client that is invited or a member may be invited anew. A member is admitted with its
            new keys only after it was removed.
        out: File to write for the client, with mode 0600; must be absent unless `again`.

    Raises:
        TrustError: The client is invited or a member, `out` exists, or a name or number is malformed.
        StorageError: A file cannot be written; nobody is invited.
    """
    at = ConsortiumHome(home)
    settings = at.settings()
    if not 1 <= valid_days <= LONGEST_VALID_DAYS:
        raise TrustError(f"an invitation is valid for 1 to {LONGEST_VALID_DAYS} days, not {valid_days}")
    expires = (now or datetime.now(UTC)) + timedelta(days=valid_days)
    with at.locked():
        if not again:
            _check_not_known(at, client)
        invitation = Invitation(
            consortium=settings.name,
            client=client,
            server=settings.address,
            ca_certificate=certificate_pem(load_certificate(at.authority_certificate)).decode(),
            coordinator=at.coordinator().public.key,
            token=secrets.token_bytes(TOKEN_BYTES),
            expires=expires.isoformat(timespec="seconds"),
        )
        _keep(at, invitation, out, again=again)
    return invitation


def check_response(home: Path, response: JoinResponse, *, now: datetime | None = None) -> None:
    """Check everything about a response that a person need not compare.

    Raises:
        TrustError: The client is a member, was not invited, its invitation has expired or is another, or one of its
            keys is on the roster.
    """
    _admitted(ConsortiumHome.open(home), response, now or datetime.now(UTC))


def admit(home: Path, response: JoinResponse, *, now: datetime | None = None) -> Roster:
    """Put a client on the roster; its invitation is used up.

    Compare the response's fingerprint with what the client reads out first: nothing else shows that the keys are the
    client's.

    Raises:
        TrustError: As `check_response`; the roster stays as it was.
        StorageError: The new roster cannot be written; the old one stays, and the invitation is open.
    """
    at = ConsortiumHome.open(home)
    with at.locked():
        roster = _admitted(at, response, now or datetime.now(UTC))
        with at.using_up(response.client):
            at.publish(roster)
    return roster


def remove(home: Path, client: str) -> Roster:
    """Take a client off the roster; withdraw the invitation of one that is only invited.

    Raises:
        TrustError: The client is neither.
        StorageError: The new roster cannot be written; the old one stays.
    """
    at = ConsortiumHome.open(home)
    with at.locked():
        roster, invitation = at.roster(), at.invitation_file(client)
        if roster.member(client) is None and invitation.exists():
            invitation.unlink()
            return roster
        roster = roster.without_member(client)
        at.publish(roster)
    return roster


def renew_certificate(home: Path, *, now: datetime | None = None) -> datetime:
    """Replace the server's certificate, for the address in ``consortium.toml``; clients need no change.

    The server's key stays, so that key and certificate on disk fit each other at every moment. A key that is lost,
    damaged or readable by others is replaced too: clients trust the authority and do not know the key.

    Returns:
        When the new certificate expires.

    Raises:
        TrustError: The authority has expired, or one of its files is damaged.
        StorageError: The certificate cannot be written; the old one stays.
    """
    at = ConsortiumHome(home)
    settings = at.settings()
    with at.locked():
        authority = Authority.load(at.authority_key, at.authority_certificate)
        key, (host, _) = _server_key(at).public_key(), parse_address(settings.address)
        certificate = authority.issue(key, settings.name, host, now or datetime.now(UTC))
        write_whole(at.server_certificate, certificate_pem(certificate))
    return certificate.not_valid_after_utc


def _server_key(at: ConsortiumHome) -> EllipticCurvePrivateKey:
    with contextlib.suppress(TrustError):
        return load_key(at.server_key)
    key = new_key()
    replace_private(at.server_key, key_pem(key))
    return key


def _check_free(at: ConsortiumHome) -> None:
    if at.settings_file.exists():
        raise TrustError(
            f"{at.path} holds the consortium {at.settings().name!r} already; see it with: fedcore consortium show "
            f"--home {at.path}; or make another in another --home"
        )
    for path in (at.authority_key, at.coordinator_key, at.server_key, at.roster_file):
        if path.exists():
            raise TrustError(
                f"{path} is there, but no consortium.toml: a consortium that lost it, or one half made when the "
                "machine stopped; restore that file, or move the directory away, or give another --home"
            )


def _first_files(at: ConsortiumHome, roster: Roster, coordinator: Identity, now: datetime) -> dict[Path, bytes | str]:
    """In the order of writing; with the last file the consortium exists."""
    authority, server_key = Authority.create(roster.consortium, now), new_key()
    host, _ = parse_address(roster.server)
    certificate = authority.issue(server_key.public_key(), roster.consortium, host, now)
    return {
        at.authority_key: key_pem(authority.key),
        at.authority_certificate: certificate_pem(authority.certificate),
        at.server_key: key_pem(server_key),
        at.server_certificate: certificate_pem(certificate),
        at.roster_file: roster.signed(coordinator),
        at.settings_file: tomli_w.dumps({"name": roster.consortium, "address": roster.server}),
    }


def _check_not_known(at: ConsortiumHome, client: str) -> None:
    member, invitation = at.roster().member(client), at.invitation(client)
    if member is not None:
        raise TrustError(
            f"{client} has been a member since {member.admitted}; to give it new keys, invite it with --again, "
            "let it join, then remove and admit it"
        )
    if invitation is not None:
        raise TrustError(
            f"{client} is invited already, until {invitation.expires}; "
            "invite it with --again to make a new invitation, and the old one worthless"
        )


def _keep(at: ConsortiumHome, invitation: Invitation, out: Path | None, *, again: bool) -> None:
    """Write an invitation for the client and for this server: both or neither."""
    with contextlib.ExitStack() as undo:
        if out is not None:
            (replace_private if again else create_private)(out, invitation.to_json())
            undo.callback(out.unlink)
        replace_private(at.invitation_file(invitation.client), invitation.to_json())
        undo.pop_all()


def _admitted(at: ConsortiumHome, response: JoinResponse, now: datetime) -> Roster:
    roster, invitation = at.roster(), at.invitation(response.client)
    if (member := roster.member(response.client)) is not None:
        raise TrustError(
            f"{response.client} has been a member since {member.admitted}; "
            f"to admit it with other keys, first: fedcore consortium remove {response.client}"
        )
    if invitation is None:
        raise TrustError(
            f"{response.client} has no open invitation: it was never invited here, or the invitation was used, and "
            f"each admits once; make one with: fedcore consortium invite {response.client}"
        )
    response.verify(invitation)
    invitation.check_current(now)
    return roster.with_member(
        Member(
            name=response.client,
            identity_key=response.identity_key,
            flower_key=response.flower_key,
            admitted=now.date().isoformat(),
        )
    )
