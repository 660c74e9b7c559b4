"""A consortium as operators see it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fedcore.text.wording import counted
from fedcore.trust.fingerprint import words
from fedcore_server.consortium.certificates import load_certificate
from fedcore_server.consortium.home import ConsortiumHome


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberLine:
    name: str
    admitted: str
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsortiumSummary:
    """A consortium as it is shown.

    Attributes:
        coordinator: Fingerprint of the coordinator's key, in words.
        invited: Clients with an open invitation, and when it expires.
    """

    name: str
    server: str
    roster_version: int
    coordinator: str
    members: tuple[MemberLine, ...]
    invited: tuple[tuple[str, datetime], ...]
    certificate_expires: datetime
    authority_expires: datetime

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "server": self.server,
            "roster_version": self.roster_version,
            "coordinator": self.coordinator,
            "members": [
                {"name": member.name, "admitted": member.admitted, "fingerprint": member.fingerprint}
                for member in self.members
            ],
            "invited": [{"name": name, "expires": expires.isoformat()} for name, expires in self.invited],
            "certificate_expires": self.certificate_expires.isoformat(),
            "authority_expires": self.authority_expires.isoformat(),
        }

    def lines(self, now: datetime) -> Iterator[str]:
        yield f"consortium   {self.name}, roster version {self.roster_version}"
        yield f"server       {self.server}"
        yield f"coordinator  {self.coordinator}"
        renewal = "renew it with: fedcore consortium renew"
        yield f"certificate  {_until(self.certificate_expires, now, renewal, days_ahead=30)}"
        yield f"authority    {_until(self.authority_expires, now, 'then found a new consortium', days_ahead=180)}"
        yield ""
        width = max([len("member"), *(len(member.name) for member in self.members)])
        yield f"{'member':<{width}}  admitted    fingerprint"
        for member in self.members:
            yield f"{member.name:<{width}}  {member.admitted}  {member.fingerprint}"
        if not self.members:
            yield "nobody yet; invite one with: fedcore consortium invite CLIENT"
        for name, expires in self.invited:
            yield f"{name} is invited, {_until(expires, now, 'invite it with --again')}"


def show(home: Path) -> ConsortiumSummary:
    """Raises TrustError: There is no consortium, or one of its files is damaged."""
    at = ConsortiumHome(home)
    settings, roster = at.settings(), at.roster()
    return ConsortiumSummary(
        name=settings.name,
        server=settings.address,
        roster_version=roster.version,
        coordinator=words(roster.coordinator),
        members=tuple(
            MemberLine(name=member.name, admitted=member.admitted, fingerprint=member.fingerprint)
            for member in roster.members
        ),
        invited=tuple((one.client, datetime.fromisoformat(one.expires)) for one in at.open_invitations()),
        certificate_expires=load_certificate(at.server_certificate).not_valid_after_utc,
        authority_expires=load_certificate(at.authority_certificate).not_valid_after_utc,
    )


def _until(moment: datetime, now: datetime, advice: str, *, days_ahead: int = 0) -> str:
    """When something ends; with advice once it has, or will within `days_ahead`."""
    day, left = moment.astimezone(UTC).date(), math.ceil((moment - now) / timedelta(days=1))
    if moment <= now:
        return f"expired on {day}; {advice}"
    return f"until {day} ({counted(left, 'day')} left)" + (f"; {advice}" if left <= days_ahead else "")
