"""Joining a consortium: keys are made where they will live, and only their public halves leave."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path

import tomli_w

from fedcore.errors import TrustError
from fedcore.storage.files import write_whole
from fedcore.trust.document import read_bounded
from fedcore.trust.identity import FlowerKey, Identity
from fedcore.trust.invitation import Invitation, JoinResponse
from fedcore.trust.private_file import create_private, make_private_directory, remove_if_empty
from fedcore_clients.agent.home import ClientHome


def join(invitation_file: Path, home: Path, *, now: datetime | None = None) -> JoinResponse:
    """Answer an invitation, and pin in `home` whom to trust.

    A home that has joined before answers a newer invitation of the same consortium with its existing keys.

    Args:
        home: Directory that is absent, or holds no other client. Keys are never overwritten.

    Raises:
        TrustError: The invitation is malformed, expired or answered already, or the home is another client's.
        StorageError: A file cannot be written; nothing is left behind.
    """
    invitation = Invitation.from_file(invitation_file)
    at = ClientHome(home)
    if at.settings_file.exists():
        return _answer_again(at, invitation, now or datetime.now(UTC))
    invitation.check_current(now or datetime.now(UTC))
    with contextlib.ExitStack() as undo:
        if make_private_directory(home):
            undo.callback(remove_if_empty, home)
        response = _fill(at, invitation, undo)
        undo.pop_all()
    return response


def _fill(at: ClientHome, invitation: Invitation, undo: contextlib.ExitStack) -> JoinResponse:
    """Make keys and write what is trusted; with ``client.toml``, the last file, the client has joined."""
    identity, flower_key = Identity.create(invitation.client), FlowerKey.create()
    identity.save(at.identity_key)
    undo.callback(at.identity_key.unlink)
    flower_key.save(at.flower_key)
    undo.callback(at.flower_key.unlink)
    response = JoinResponse.create(invitation, identity, flower_key)
    for path, content in {
        at.authority_certificate: invitation.ca_certificate,
        at.coordinator_key: invitation.coordinator.hex() + "\n",
        at.response: response.to_json(),
        at.settings_file: _settings(invitation),
    }.items():
        create_private(path, content)
        undo.callback(path.unlink)
    return response


def _answer_again(at: ClientHome, invitation: Invitation, now: datetime) -> JoinResponse:
    """Answer another invitation with the existing identity; what was pinned stays pinned.

    The key for Flower is a new one: Flower never admits a removed key again.
    """
    _check_same(at, invitation)
    response = JoinResponse.create(invitation, at.identity(), at.flower())
    if at.response.exists() and JoinResponse.from_file(at.response) == response:
        raise TrustError(
            f"{invitation.client} has joined {invitation.consortium} with this invitation already; "
            f"its response is {at.response}, and its fingerprint {response.fingerprint}"
        )
    invitation.check_current(now)
    flower_key = FlowerKey.create()
    flower_key.replace(at.flower_key)
    response = JoinResponse.create(invitation, at.identity(), flower_key)
    write_whole(at.response, response.to_json())
    write_whole(at.settings_file, _settings(invitation))
    return response


def _check_same(at: ClientHome, invitation: Invitation) -> None:
    settings = at.settings()
    if (settings.name, settings.consortium) != (invitation.client, invitation.consortium):
        raise TrustError(
            f"{at.path} is the home of {settings.name} in {settings.consortium}; the invitation is for "
            f"{invitation.client} into {invitation.consortium}: give another --home"
        )
    authority = read_bounded(at.authority_certificate, what="the authority's certificate", max_bytes=65_536)
    if at.coordinator().key != invitation.coordinator or authority != invitation.ca_certificate.encode():
        raise TrustError(
            f"the invitation names another coordinator or authority than {invitation.client} has trusted since it "
            f"joined: ask the operator, by phone, whether {invitation.consortium} was created anew; if so, join with "
            "another --home, and if not, the invitation is forged"
        )


def _settings(invitation: Invitation) -> str:
    return tomli_w.dumps({"name": invitation.client, "consortium": invitation.consortium, "server": invitation.server})
