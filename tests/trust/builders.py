"""Keys, invitations and rosters with defaults."""

from __future__ import annotations

import base64
import json
import os
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from fedcore.trust.document import canonical
from fedcore.trust.identity import COORDINATOR, FlowerKey, Identity
from fedcore.trust.invitation import Invitation, JoinResponse
from fedcore.trust.roster import Member, Roster
from fedcore_server.consortium.certificates import Authority, certificate_pem
from fedcore_server.consortium.members import admit, invite

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@cache
def authority() -> str:
    return certificate_pem(Authority.create("heart", NOW).certificate).decode()


@cache
def coordinator() -> Identity:
    return Identity.create(COORDINATOR)


def build_member(name="hospital-a", **changes) -> Member:
    values = {
        "name": name,
        "identity_key": Identity.create(name).public.key,
        "flower_key": FlowerKey.create().public_bytes,
        "admitted": "2026-11-22",
    }
    return Member(**(values | changes))


def build_roster(*members: Member, **changes) -> Roster:
    values = {
        "consortium": "heart",
        "version": 1,
        "server": "fl.example.org:9092",
        "coordinator": coordinator().public.key,
        "members": members,
    }
    return Roster(**(values | changes))


def build_invitation(**changes) -> Invitation:
    values = {
        "consortium": "heart",
        "client": "hospital-a",
        "server": "fl.example.org:9092",
        "ca_certificate": authority(),
        "coordinator": coordinator().public.key,
        "token": bytes(range(16)),
        "expires": "2026-11-29T12:00:00+00:00",
    }
    return Invitation(**(values | changes))


def build_response(invitation=None, *, identity=None, flower_key=None) -> JoinResponse:
    invitation = invitation or build_invitation()
    return JoinResponse.create(
        invitation, identity or Identity.create(invitation.client), flower_key or FlowerKey.create()
    )


def sign_as_roster(content: dict, signer: Identity) -> str:
    """Any content under a valid signature, as only the signer itself could make it."""
    signature = base64.b64encode(signer.sign(canonical(content, domain="fedcore roster 1"))).decode()
    return json.dumps(content | {"signature": signature})


def altered(text: str, **changes) -> str:
    """A document with values replaced; those that become None are left out."""
    content = json.loads(text) | changes
    return json.dumps({key: value for key, value in content.items() if value is not None})


def welcome(home: Path, client="hospital-a") -> JoinResponse:
    """Invite a client and admit what it answers."""
    response = build_response(invite(home, client))
    admit(home, response)
    return response


def environment() -> dict[str, str]:
    """For a new Python process that can import what this one can."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
